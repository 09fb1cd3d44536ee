"""What happens when a node fails, and how a manifest decides it.

Shows the same node under three policies: the failure ends the run; the item is left out; what may
pass is tried again. Then a process that dies: the program that started it goes on.
"""

import os

from remotemedia import Node, NodeOptions, Pipeline, Session, TransientError
from remotemedia_runtime import ProcessCrashError, PythonError


class Moody(Node):
    """Refuses the number 1, needs two tries for 2, and dies of 3."""

    def initialize(self) -> None:
        """Start without a try."""
        self.tries = 0

    def process(self, item: int) -> int:
        """Give the item back, if that goes well."""
        if item == 1:
            raise ValueError("not that one")
        if item == 2:
            self.tries += 1
            if self.tries == 1:
                raise TransientError("not now")
        if item == 3:
            os._exit(1)
        return item


def run(numbers: list[int], policy: NodeOptions) -> None:
    """Send the numbers to the node under a policy, and tell what becomes of them."""
    pipeline = Pipeline("moods")
    pipeline.add_node(Moody, **policy)
    print(f"{numbers} with {policy}:", end=" ")
    try:
        with Session(pipeline) as session:
            for number in numbers:
                session.send(number)
            session.finish()
            print([output.item for output in session])
    except PythonError as error:
        print(f"item {error.item} failed with {error.error_type}")
    except ProcessCrashError as error:
        print(f"the process of {error.node_id} died at item {error.item}: {error.reason}")


if __name__ == "__main__":
    run([0, 4, 1], {})
    run([0, 1, 4], {"on_error": "skip"})
    run([0, 2, 4], {"retry": {"max": 3, "initial_ms": 10}})
    run([0, 4, 3], {})
