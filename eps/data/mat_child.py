"""Reads fields of MATLAB structs for another process (see `mat_files`), which a damaged file then cannot end.

A request is a line of JSON, [path, variable, field]; the answer is a line of JSON and as many bytes as it says.
"""

import json
import sys
from typing import Any

import numpy as np
from scipy.io import loadmat

MAX_BYTES = 512 << 20
"""Of address space: a small file can say that it holds a large array, or unpack to one."""


def answer(path: str, variable: str, field: str) -> tuple[dict[str, Any], bytes]:
    """What was found, or what went wrong, and the bytes of the numbers."""
    try:
        found = np.ascontiguousarray(loadmat(path, variable_names=[variable])[variable][0, 0][field])
        if found.dtype.kind not in "biuf":
            raise TypeError(f"it holds {found.dtype}, no numbers")
        content = found.tobytes()
        return {"shape": found.shape, "dtype": found.dtype.str, "bytes": len(content)}, content
    except Exception as error:  # scipy's reader has no error of its own for what it cannot read
        return {"error": " ".join(repr(error).split())[:200], "bytes": 0}, b""


def main() -> None:
    """Answer until there is nobody to ask."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    for line in sys.stdin.buffer:
        head, content = answer(*json.loads(line))
        sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
