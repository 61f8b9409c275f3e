"""What happens on the page: how gradio runs a handler, and a mistake of the user as a line."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from eps.errors import UserError

Given = ParamSpec("Given")
Made = TypeVar("Made")


def react(
    event: Any,
    handler: Callable[..., Any],
    given: list[Any],
    made: list[Any],
    *,
    busy: list[Any] | None = None,
    **how: Any,
) -> Any:
    """Run `handler` from and to these components on `event`; what follows waits for its success.

    `busy` is where the page shows that it is at work; None: on what is made, unless that is nothing to look at. `how`
    is gradio's.
    """
    progress = {"show_progress": "minimal" if busy is None else "full", "show_progress_on": busy}
    return event(handler, given, made, api_visibility="private", **progress, **how)


def told(handler: Callable[Given, Made]) -> Callable[Given, Made]:
    """The same handler of an event, whose `UserError` the page shows."""

    @wraps(handler)
    def shown(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        try:
            return handler(*args, **kwargs)
        except UserError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error

    return shown
