"""How to cite the software, and the paper whose networks it reimplements; as in CITATION.cff."""

import musclejax

SOFTWARE = (
    "The musclejax developers. "
    "musclejax: thigh and leg muscles from MRI on a CPU, in JAX and Flax. "
    f"Version {musclejax.__version__}. Apache-2.0."
)
PAPER = (
    "Agosti A, Shaqiri E, Paoletti M, Solazzo F, Bergsland N, Colelli G, Savini G, Muzic SI, "
    "Santini F, Deligianni X, Diamanti L, Monforte M, Tasca G, Ricci E, Bastianello S, "
    "Pichiecchio A. Deep learning for automatic segmentation of thigh and leg muscles. "
    "Magnetic Resonance Materials in Physics, Biology and Medicine 2022;35:467-483."
)
PAPER_DOI = "10.1007/s10334-021-00967-4"
