"""Nano, part 1 of 3: the audio encoder learns the mouth that belongs to a sound.

    lipforcing train --config configs/nano_audio.py --workdir runs/nano

Speech comes from the installed engines (flite, espeak-ng) or the built-in formant synthesiser.

Result: the opening correlates 0.82 with the truth on held-out voices (0.73 after 1250 updates, 0.80 after 2750); 40
minutes on two cores beside other work, and 7 for the speech. Without other voices (`distill/other_voice.py`) and
without the usual spectrum, 7000 updates reached 0.81 here, but 0.51 on filmed speakers, where this one has 0.55.

The bundled ear made `clips=3200 steps=3000 workers=2`, and then, so that what had learnt its code needed no training
(`start`), `start=first_ear.safetensors clips=5312 steps=1750 phone_weight=0.0 code_weight=0.3 peak_lr=8e-4 warmup=50
seed=50000`: 0.877, then 0.894 on held-out voices, since breaths can be heard, in 36 and 17 minutes. The same again with
`steps=3000 seed=60000`, in 25 minutes: 0.907. When rounded lips were drawn less open, 1200 updates more (docs/nano.md):
0.908.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "audio",
            "name": "audio",  # of the weights; what hears elsewhere looks for audio.safetensors
            "preset": "nano",
            "seed": 0,
            "start": "",  # an ear to go on from; what reads its code stays as it is, so that others still understand it
            "code_weight": 0.3,  # how firmly the code of such an ear stays
            "clips": 4800,
            "heldout_clips": 128,
            "clip_frames": 129,
            "workers": 1,  # processes that make the data; this one does with none
            "loaders": 0,  # processes that prepare batches; a thread if 0
            "steps": 5000,
            "batch": 32,
            "frames": 64,
            "peak_lr": 2e-3,
            "warmup": 40,
            "weight_decay": 0.02,
            "clip_norm": 1.0,
            "average_decay": 0.998,
            "phone_weight": 0.05,
            "save_every": 500,
        }
    )
