"""The student's kernel as the grader drives it: nbval's, with a limit on all it waits for."""

from __future__ import annotations

import time
from queue import Empty
from typing import Any

from nbval.kernel import RunningKernel

NAME = "distill_lab"  # of the kernel spec that `session` writes
PATIENCE = 10.0  # seconds to come back after an interrupt


class KernelDiedError(Exception):
    """The process that ran the student's code has ended, or had to be ended."""


class Shell(RunningKernel):
    """A kernel that is asked for values, and that is seen to be dead at once."""

    def __init__(self, cwd: str) -> None:
        super().__init__(NAME, cwd=cwd, startup_timeout=60)

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next message; Empty after `timeout` seconds, KernelDiedError where none can come."""
        end = time.monotonic() + (60 if timeout is None else timeout)
        while True:
            left = end - time.monotonic()
            try:
                return super().get_message(stream, max(0.0, min(0.3, left)))
            except Empty:
                if not self.is_alive():
                    raise KernelDiedError("its process has ended") from None
                if left <= 0:
                    raise

    def ask(self, expression: str, seconds: float) -> str:
        """The repr of an expression's value. TimeoutError, KernelDiedError, or NameError and the
        like where it has none."""
        reply = self._reply(self._send("", {"answer": expression}), seconds)
        answer = reply.get("user_expressions", {}).get("answer", {})
        if answer.get("status") != "ok":
            said = f"{answer.get('ename', 'no answer')}: {answer.get('evalue', '')}"[:500]
            raise NameError(said.removeprefix("NameError: "))
        return str(answer["data"].get("text/plain", ""))

    def run(self, source: str, seconds: float) -> str:
        """Runs source; "" or what it raised. TimeoutError and KernelDiedError as with `ask`."""
        reply = self._reply(self._send(source, {}), seconds)
        if reply.get("status") == "ok":
            return ""
        return f"{reply.get('ename', 'Error')}: {reply.get('evalue', '')}"[:500]

    def _send(self, source: str, expressions: dict[str, str]) -> str:
        return self.kc.execute(
            source,
            silent=not source,
            store_history=False,
            user_expressions=expressions,
            allow_stdin=False,
            stop_on_error=False,
        )

    def _reply(self, sent: str, seconds: float) -> dict[str, Any]:
        try:
            return self._wait(sent, seconds)
        except Empty:
            self.interrupt()
        try:
            self._wait(sent, PATIENCE)
        except Empty:
            self.km.shutdown_kernel(now=True)
            raise KernelDiedError(f"it did not stop after {seconds:g} seconds") from None
        raise TimeoutError(f"stopped after {seconds:g} seconds")

    def _wait(self, sent: str, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            message = self.get_message("shell", max(0.0, end - time.monotonic()))
            if message["parent_header"].get("msg_id") == sent:
                return message["content"]
