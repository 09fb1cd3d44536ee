"""The ten-line program of the README: runs the speech example and prints what was recognised."""

import os
import pathlib

import remotemedia_runtime

os.chdir("examples/speech")
ran = remotemedia_runtime.execute_pipeline(pathlib.Path("pipeline.json").read_text())
for text in ran["result"]:
    print("heard:", text)
for node, done in ran["metrics"]["nodes"].items():
    print(node, done["items_in"], done["time"]["median_us"])
