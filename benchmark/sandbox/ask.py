"""A question that only a stranger's code can answer, put to a confined process: JSON in, JSON out."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from srbench.sandbox import apply
from srbench.sandbox.policy import policy_for_job
from srbench.utils.errors import SrbenchError
from srbench.utils.processes import end_with_parent

_START = (
    "import sys; sys.path = [entry for entry in sys.path if entry]; "
    "from srbench.sandbox.ask import main; main(sys.argv[1])"
)
_ARGUMENTS = "arguments.json"
_SECONDS = 300.0
_MAX_NUMBER = 20


def ask(function: str, *arguments: Any, module_file: Path | None, hidden: tuple[Path, ...] = ()) -> Any:
    """What a function of srbench returns in a confined process of its own.

    Args:
        function: ``module:name``, of srbench.
        *arguments: of the function, as JSON can hold them.
        module_file: of the stranger's module; may be read with the package it lies in.
        hidden: never to be read.

    Raises:
        SrbenchError: the process failed, or gave what is no JSON of reasonable size.
    """
    from srbench.sandbox.process import Misbehaved, UntrustedProcess
    from srbench.utils.files import temporary_folder

    with temporary_folder("ask") as scratch:
        (scratch / _ARGUMENTS).write_text(json.dumps(arguments), encoding="utf-8")
        policy = policy_for_job(
            lr=None, weights=None, module_file=module_file, scratch=scratch, hidden=hidden
        )
        with apply.policy_file(scratch, policy):
            environment = {**os.environ, **apply.worker_environment(scratch)}
            process = UntrustedProcess([sys.executable, "-c", _START, function], scratch, environment, 1)
            try:
                _, line = process.line(time.monotonic() + _SECONDS)
                return json.loads(line, parse_constant=_no_number, parse_int=_whole)
            except TimeoutError as error:
                raise SrbenchError(f"no answer for {_SECONDS:g} s; ended") from error
            except EOFError as error:
                raise SrbenchError(process.death()) from error
            except (Misbehaved, ValueError, RecursionError) as error:
                raise SrbenchError(f"no answer that can be read: {str(error)[:200]}") from error
            finally:
                process.end()


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_NUMBER:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def main(function: str) -> None:
    """In the confined process: answer in one line on the original standard output."""
    end_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    arguments = json.loads(Path(_ARGUMENTS).read_text(encoding="utf-8"))
    apply.apply_policy_file(Path(apply.POLICY_FILE).absolute())
    module, _, name = function.partition(":")
    try:
        answer = getattr(importlib.import_module(module), name)(*arguments)
        out.write(json.dumps(answer) + "\n")
        out.flush()
    except Exception:
        traceback.print_exc(limit=3)
        sys.exit(1)
