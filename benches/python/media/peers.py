"""What our nodes are compared with, where it is installed.

Main functions: `package`, `library` and `program`. What is missing is named once, with the command
that installs it, and left out.
"""

import ctypes
import importlib
import shutil

# By the name under which it is imported or loaded.
INSTALL = {
    "cv2": "pip install opencv-python-headless",
    "onnxruntime": "pip install onnxruntime",
    "PIL": "pip install pillow",
    "scipy.signal": "pip install scipy",
    "silero_vad": "pip install --no-deps silero-vad",
    "soundfile": "pip install soundfile",
    "soxr": "pip install soxr",
    "webrtcvad": "pip install webrtcvad-wheels",
    "libyuv.so.0": "apt-get install libyuv0",
    "gst-launch-1.0": "apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad",
}
named = set()


def missing(name):
    """Say how to get it, and give none."""
    if name not in named:
        named.add(name)
        print(f"not measured: {name} ({INSTALL[name]})")


def package(name):
    """Give a package of Python, or none."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return missing(name)


def library(name):
    """Give a shared library, or none."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return missing(name)


def program(name):
    """Give the path of a program, or none."""
    return shutil.which(name) or missing(name)
