"""moto's server, with its queues put right for many clients at once. Takes moto's own arguments."""

from __future__ import annotations

from typing import Any

from moto.server import main
from moto.sqs.models import Queue


def delete_one_at_a_time() -> None:
    """Of two deletions at once, one would bring back what the other has deleted, or lose what is just being sent.

    moto makes a list without the message and puts it in the place of the whole one; so nothing may come in between.
    """
    delete = Queue.delete_message

    def delete_message(self: Queue, *arguments: Any, **options: Any) -> None:
        with self._messages_lock:
            delete(self, *arguments, **options)

    Queue.delete_message = delete_message  # type: ignore[method-assign]


if __name__ == "__main__":
    delete_one_at_a_time()
    main()
