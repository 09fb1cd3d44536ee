"""A session that one thread feeds while another takes what comes out.

Shows back pressure (`send` waits while there is no room), the end of the input, and statistics. A
recorded minute is resampled, in items of 20 ms.
"""

import threading

import numpy as np

from remotemedia import Audio, AudioResampleNode, FormatConverterNode, Pipeline, Session

SECONDS = 60


def feed(session: Session) -> None:
    """Send a minute of stereo noise at 48 kHz."""
    noise = np.random.default_rng(1).normal(0, 0.1, (960, 2)).astype(np.float32)
    for _ in range(SECONDS * 50):
        session.send(Audio(noise, 48_000))
    session.finish()


def main() -> None:
    """Resample, and say what came out."""
    pipeline = Pipeline("resample")
    pipeline.add_node(FormatConverterNode(channels=1))
    pipeline.add_node(AudioResampleNode(target_rate=16_000))
    with Session(pipeline) as session:
        feeder = threading.Thread(target=feed, args=(session,))
        feeder.start()
        items = frames = 0
        for output in session:
            items += 1
            frames += output.item.frames
        feeder.join()
    for node in session.report()["nodes"]:
        print(f"{node['node']}: {node['items_in']} in, {node['items_out']} out")
    print(f"{items} items, {frames / 16_000:.1f} s")


if __name__ == "__main__":
    main()
