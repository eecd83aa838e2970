# SPDX-License-Identifier: Apache-2.0
"""Find the architecture of an NVIDIA GPU by its PCI device id, without a driver.

Each chip has its own block of ids, so a product of a chip that is listed here is known before it is sold.
Sources: [ids] the PCI ID database, github.com/pciutils/pciids, which lists the chip of each id; [open] the
list of GPUs in the README of github.com/NVIDIA/open-gpu-kernel-modules, which begins with Turing; [admin]
the tables gpu/devid_chips.py and gpu/devid_names.py of github.com/NVIDIA/gpu-admin-tools; [nouveau] the
code names page of the Nouveau project, which pairs chips with architectures.
"""

from __future__ import annotations

EARLY, KEPLER = "Fermi or older", "Kepler"
MAXWELL, PASCAL, VOLTA = "Maxwell", "Pascal", "Volta"
TURING, AMPERE, ADA, HOPPER = "Turing", "Ampere", "Ada", "Hopper"
GRACE_HOPPER, BLACKWELL = "Grace Hopper", "Blackwell"
# What is above the last row came after it; what lies between rows cannot be told.
NEWER, UNKNOWN = "newer than Blackwell", "unknown"

TABLE = (
    (0x0000, 0x0FBF, EARLY),  # GT218, GF100 and before [ids, nouveau]
    (0x0FC0, 0x0FFF, KEPLER),  # GK107 [ids, nouveau]
    (0x1000, 0x103F, KEPLER),  # GK110, GK180, GK210: K40, K80 [ids, nouveau]
    (0x1040, 0x1140, EARLY),  # GF119, GF110, GT218, GF117 [ids, nouveau]
    (0x1180, 0x11FF, KEPLER),  # GK104, GK106 [ids, nouveau]
    (0x1200, 0x127F, EARLY),  # GF114, GF116 [ids, nouveau]
    (0x1280, 0x12BF, KEPLER),  # GK208 [ids, nouveau]
    (0x1340, 0x143F, MAXWELL),  # GM108, GM107, GM204, GM206: M4, M10 [ids, nouveau]
    (0x15F0, 0x15FF, PASCAL),  # GP100: P100 [ids, nouveau]
    (0x1600, 0x167F, MAXWELL),  # GM204 of notebooks [ids, nouveau]
    (0x1725, 0x172F, PASCAL),  # GP100 [ids]
    (0x1740, 0x17FF, MAXWELL),  # GM108, GM107, GM200: M40 [ids, nouveau]
    (0x1B00, 0x1D7F, PASCAL),  # GP102, GP104, GP106, GP107, GP108: P40, P4 [ids, nouveau]
    (0x1D80, 0x1DFF, VOLTA),  # GV100: V100 [ids, nouveau]
    (0x1E00, 0x1FFF, TURING),  # TU102, TU104, TU106, TU117: T4 [ids, open]
    (0x2080, 0x20FF, AMPERE),  # GA100: A100, A30, A800 [ids, open]
    (0x2180, 0x21FF, TURING),  # TU116 [ids, open]
    (0x2200, 0x227F, AMPERE),  # GA102: A40, A10 [ids, open]
    (0x2300, 0x2341, HOPPER),  # GH100: H100, H200, H20, H800 [ids, open]
    (0x2342, 0x2348, GRACE_HOPPER),  # GH100 of GH200, ids 2342, 2343, 2345 and 2348 [ids, admin]
    (0x2349, 0x23FF, HOPPER),  # GH100 [ids]
    (0x2400, 0x25FF, AMPERE),  # GA103, GA104, GA106, GA107: A16, A2 [ids, open]
    (0x2680, 0x28FF, ADA),  # AD102, AD103, AD104, AD106, AD107: L40S, L4 [ids, open]
    (0x2900, 0x29FF, BLACKWELL),  # GB100, GB102: B200, B100, GB200 [ids, admin]
    (0x2B00, 0x2B7F, BLACKWELL),  # GB10B: Jetson Thor [ids]
    (0x2B80, 0x2C7F, BLACKWELL),  # GB202, GB203: RTX PRO 6000, RTX 5090 [ids, admin]
    (0x2D00, 0x2DFF, BLACKWELL),  # GB206, GB207 [ids, admin]
    (0x2E00, 0x2E7F, BLACKWELL),  # GB20B: GB10 of DGX Spark [ids]
    (0x2F00, 0x2F7F, BLACKWELL),  # GB205 [ids, admin]
    (0x3180, 0x327F, BLACKWELL),  # GB110, GB112: B300, GB300 [ids]
    (0x3340, 0x337F, BLACKWELL),  # GB120 [ids]
)


def architecture(device: int) -> str:
    """Return the architecture of the GPU with this device id."""
    for first, last, name in TABLE:
        if first <= device <= last:
            return name
    return NEWER if device > TABLE[-1][1] else UNKNOWN
