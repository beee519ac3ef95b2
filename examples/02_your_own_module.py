"""A module of your own, converted unchanged; what is refused; and a rule for a part that cannot be traced.

Usage: python examples/02_your_own_module.py [folder for the pictures]
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import tnsim

OUT = Path(sys.argv[1] if len(sys.argv) == 2 and sys.argv[1][0] != "-" else tempfile.mkdtemp())
torch.manual_seed(0)


# %% A plain torch module. tnsim asks for no base class and no special layers: only for a polynomial.
class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(12, 6)
        self.gate = nn.Linear(6, 6)
        self.W = nn.Parameter(torch.randn(6, 8) / 3)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.gate(x) * x
        x = x + (x @ self.W).square() @ self.W.T
        return self.head(x)


model = Gated().double()
net = tnsim.convert(model)
print(net)

# %% The network computes what the module computes, and each layer can be looked at alone.
x = torch.randn(5, 12, dtype=torch.float64)
print("largest difference:", (net(x) - model(x)).abs().max().item())
print("one layer:", net["W"].in_shape, "→", net["W"].out_shape, "of degree", net["W"].degree)
fig_model, _ = tnsim.draw(net)
fig, _ = tnsim.draw(net, level="network")
fig_layer, _ = tnsim.draw(net["W"])

# %% What is not a polynomial is refused, with the place and the remedy.
try:
    tnsim.convert(nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)))
except tnsim.ConvertError as error:
    print("\nConvertError:", error)


# %% A power spectrum is a polynomial too, |Fx|² = (Cx)² + (Sx)², but its code calls an FFT.
class PowerSpectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).abs() ** 2


spectral = nn.Sequential(nn.Linear(12, 8), PowerSpectrum(), nn.Linear(5, 3)).double()
try:
    tnsim.convert(spectral)
except tnsim.ConvertError as error:
    print("\nConvertError:", error)


# %% A rule says what polynomial the leaf is. Products, sums and powers of polynomials are polynomials.
@tnsim.convert.register(PowerSpectrum)
def power_spectrum(module):
    columns = torch.fft.rfft(torch.eye(8, dtype=torch.float64)).T
    real = tnsim.poly("C[out,in0]", C=columns.real)
    imaginary = tnsim.poly("S[out,in0]", S=columns.imag)
    return real**2 + imaginary**2


net = tnsim.convert(spectral)
print(f"\n{net}")
print("largest difference:", (net(x) - spectral(x)).abs().max().item())

# %% The pictures.
OUT.mkdir(parents=True, exist_ok=True)
fig_model.savefig(OUT / "your-own-model.png", dpi=110, bbox_inches="tight")
fig.savefig(OUT / "your-own-module.png", dpi=110, bbox_inches="tight")
fig_layer.savefig(OUT / "your-own-layer.png", dpi=110, bbox_inches="tight")
print(f"pictures in {OUT}")
