"""A program of its own that speaks with libespeak-ng and writes phone times and samples to standard output.

It stands alone (standard library only) and is started once per batch by `espeak.py`: the library keeps global
state that must not live in the caller's process. Input, one JSON object on standard input: `{"voice", "rate",
"pitch", "range", "texts"}`. Output, for each text: one JSON line `{"rate", "samples", "phones": [[mnemonic,
milliseconds], ...]}`, then that many 16-bit little-endian samples.
"""

import ctypes
import json
import sys

SYNCHRONOUS, PHONEME_EVENTS = 2, 1
RATE, PITCH, RANGE = 1, 3, 4
EVENT_END, EVENT_PHONEME = 0, 7
UTF8 = 1


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def main() -> int:
    """Read the request, speak, write; the exit status is 1 for an unknown voice."""
    request = json.loads(sys.stdin.readline())
    library = ctypes.CDLL("libespeak-ng.so.1")
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    sample_rate = library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
    samples, phones = bytearray(), []

    def collect(wave, count, events):
        if wave and count > 0:
            samples.extend(ctypes.string_at(wave, 2 * count))
        i = 0
        while events[i].type != EVENT_END:
            if events[i].type == EVENT_PHONEME:
                name = events[i].id.string.split(b"\0")[0].decode("utf-8", "replace")
                phones.append([name, events[i].audio_position])
            i += 1
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        print(f"unknown voice {request['voice']}", file=sys.stderr)
        return 1
    library.espeak_SetParameter(RATE, request["rate"], 0)
    library.espeak_SetParameter(PITCH, request["pitch"], 0)
    library.espeak_SetParameter(RANGE, request["range"], 0)
    for text in request["texts"]:
        samples.clear()
        phones.clear()
        data = text.encode() + b"\0"
        library.espeak_Synth(data, len(data), 0, 1, 0, UTF8, None, None)
        library.espeak_Synchronize()
        header = {"rate": sample_rate, "samples": len(samples) // 2, "phones": phones}
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + bytes(samples))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
