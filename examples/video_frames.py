"""Video frames through a Python node, without a copy on the way out.

Shows `VideoFrame`, frames as views of shared memory, and a node that writes its output where it is
sent from. A moving bar is made here; a camera would do as well.
"""

from collections.abc import Iterator

import numpy as np

from remotemedia import Node, Pipeline, Session, VideoFrame

WIDTH, HEIGHT, FPS = 640, 360, 30


class Difference(Node):
    """Gives what has changed since the frame before: large values where something moves."""

    def initialize(self) -> None:
        """Start without a frame."""
        self.last: VideoFrame | None = None

    def process(self, item: VideoFrame) -> VideoFrame | None:
        """Compare a frame with the last one."""
        # Keeping what has come is safe: its memory is not used again until it is let go.
        last, self.last = self.last, item
        if last is None:
            return None
        out = self.loan(item.data.shape, item.data.dtype)
        np.subtract(np.maximum(item.data, last.data), np.minimum(item.data, last.data), out=out)
        return VideoFrame(out, item.format, fps=item.fps)


def moving_bar(count: int) -> Iterator[VideoFrame]:
    """Make frames with a bar that moves by ten pixels each."""
    for number in range(count):
        pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        pixels[:, number * 10 : number * 10 + 40] = 255
        yield VideoFrame(pixels, "rgb24", fps=FPS)


def main() -> None:
    """Send a second of video, and look at what moved."""
    pipeline = Pipeline("motion")
    pipeline.add_node(Difference)
    with Session(pipeline) as session:
        for frame in moving_bar(FPS):
            session.send(frame)
        session.finish()
        changed = [int((output.item.data[..., 0] > 0).sum()) for output in session]
    print(f"{len(changed)} frames, {changed[0]} pixels changed in the first one")


if __name__ == "__main__":
    main()
