"""A mistake of the user as a line on the page."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import gradio as gr

from eps.errors import UserError

Given = ParamSpec("Given")
Made = TypeVar("Made")


def told(handler: Callable[Given, Made]) -> Callable[Given, Made]:
    """The same handler of an event, whose `UserError` the page shows."""

    @wraps(handler)
    def shown(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        try:
            return handler(*args, **kwargs)
        except UserError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error

    return shown
