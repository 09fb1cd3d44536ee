"""A Python node and the pipeline around it, in one file: the shortest complete program.

Shows how a node declares its parameters, works on items without a copy, and is used. The class is
imported by a worker, which is why what runs stands under ``if __name__``.
"""

import numpy as np

from remotemedia import Audio, Node, Pipeline, Session


class Gain(Node):
    """Multiplies audio by a factor."""

    class Params:
        """What it takes; checked before its process starts."""

        factor: float = 2.0

    params: Params

    def process(self, item: Audio) -> Audio:
        """Give the audio of an item, louder or quieter."""
        out = self.loan(item.samples.shape, item.samples.dtype)
        np.multiply(item.samples, self.params.factor, out=out)
        return Audio(out, item.sample_rate)


def main() -> None:
    """Send three items through the node."""
    pipeline = Pipeline("quiet")
    pipeline.add_node(Gain(factor=0.5))
    with Session(pipeline) as session:
        for number in range(3):
            session.send(Audio(np.full(160, number, dtype=np.float32), 16_000))
        session.finish()
        for output in session:
            print(output.node, output.item.samples[0])


if __name__ == "__main__":
    main()
