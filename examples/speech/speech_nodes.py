"""Speech in, speech out: the two Python nodes of this example.

`Recognizer` turns an utterance into text, `Synthesizer` turns text into speech. Each runs in a
process of its own, so neither blocks the other nor the pipeline, although both hold Python's
interpreter lock while they work.
"""

import ctypes
from typing import Any

# Neither of them says anything of its types.
import espeakng_loader  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import pocketsphinx  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from remotemedia import Audio, Node


class Recognizer(Node):
    """Recognises what a grammar allows, one utterance an item.

    Takes mono audio at 16 kHz; gives the words as text, or nothing for an utterance in which it
    recognises none.

    Parameters:
        grammar: path of a JSGF grammar, relative to the manifest's folder.
    """

    SAMPLE_RATE = 16_000

    def initialize(self) -> None:
        grammar = self.context.base_dir / self.params["grammar"]
        if not grammar.is_file():
            raise FileNotFoundError(f"there is no grammar {grammar}")
        self.progress(0.1, "loading the acoustic model")
        decoder_of: Any = pocketsphinx
        self.decoder = decoder_of.Decoder(
            samprate=self.SAMPLE_RATE, jsgf=str(grammar), lm=None, loglevel="FATAL"
        )

    def process(self, item: object) -> str | None:
        if not isinstance(item, Audio):
            raise TypeError(f"expected audio, got {item!r}")
        if item.sample_rate != self.SAMPLE_RATE:
            raise ValueError(f"expected {self.SAMPLE_RATE} Hz, got {item.sample_rate} Hz")
        if item.samples.size != len(item.samples):
            raise ValueError(f"expected mono audio, got samples of shape {item.samples.shape}")
        if item.samples.size == 0:
            return None
        pcm = np.rint(item.samples.clip(-1, 1) * 32767).astype("<i2").tobytes()
        self.decoder.start_utt()
        self.decoder.process_raw(pcm, full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return found.hypstr if found and found.hypstr else None


class Synthesizer(Node):
    """Speaks text with eSpeak NG.

    Takes text; gives one mono audio item for each.

    Parameters:
        voice: an eSpeak voice (default "en-us"; `espeak-ng --voices` lists them).
        rate: words a minute, 80 to 450 (default 175).
    """

    # The part of eSpeak's C interface that is needed here, from its header speak_lib.h.
    AUDIO_OUTPUT_SYNCHRONOUS = 2
    INITIALIZE_DONT_EXIT = 0x8000
    PARAMETER_RATE = 1
    CHARS_UTF8 = 1
    # int callback(short *wav, int numsamples, espeak_EVENT *events)
    CALLBACK = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    espeak: Any = None

    def initialize(self) -> None:
        voice, rate = self.params.get("voice", "en-us"), self.params.get("rate", 175)
        if not isinstance(rate, int) or not 80 <= rate <= 450:
            raise ValueError(f"rate is {rate!r}, expected from 80 to 450 words a minute")
        self.progress(0.1, "loading eSpeak NG")
        self.espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        self.espeak.espeak_Synth.argtypes = [
            ctypes.c_char_p,  # text
            ctypes.c_size_t,  # its length in bytes, with the closing zero
            ctypes.c_uint,  # position to start from
            ctypes.c_int,  # unit of that position
            ctypes.c_uint,  # position to stop at; 0 for none
            ctypes.c_uint,  # flags
            ctypes.c_void_p,  # where to put a number for this text
            ctypes.c_void_p,  # passed on to the callback
        ]
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = self.espeak.espeak_Initialize(
            self.AUDIO_OUTPUT_SYNCHRONOUS, 0, data, self.INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise RuntimeError("eSpeak NG does not start")
        self.progress(0.8, f"choosing the voice {voice}")
        if self.espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        self.espeak.espeak_SetParameter(self.PARAMETER_RATE, rate, 0)
        self.chunks: list[NDArray[np.int16]] = []
        # eSpeak keeps only the address, so the object has to live as long as the node.
        self.callback = self.CALLBACK(self.collect)
        self.espeak.espeak_SetSynthCallback(self.callback)

    def collect(self, samples: Any, count: int, events: object) -> int:
        """Called by eSpeak with the next samples, which it will overwrite."""
        if samples and count > 0:
            self.chunks.append(np.array(np.ctypeslib.as_array(samples, (count,)), np.int16))
        return 0  # go on

    def process(self, item: object) -> Audio | None:
        if not isinstance(item, str):
            raise TypeError(f"expected text, got {item!r}")
        text = item.encode()
        # In synchronous mode this returns when all samples have been through the callback.
        if self.espeak.espeak_Synth(text, len(text) + 1, 0, 0, 0, self.CHARS_UTF8, None, None):
            raise RuntimeError(f"eSpeak NG does not speak {item!r}")
        chunks, self.chunks = self.chunks, []
        if not chunks:
            return None
        return Audio(np.concatenate(chunks).astype(np.float32) / 32768, self.sample_rate)

    def cleanup(self) -> None:
        if self.espeak is not None:
            self.espeak.espeak_Terminate()
