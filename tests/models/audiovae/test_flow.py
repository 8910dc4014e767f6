"""The posterior's flow: invertible, volume-preserving, causal, and a permutation at the start."""

import torch

from models.audiovae.flow import PosteriorFlow


def moved(width: int = 6) -> PosteriorFlow:
    """A flow that is not at its start."""
    torch.manual_seed(0)
    flow = PosteriorFlow(width, hidden=8, layers=2)
    for coupling in flow.couplings:
        torch.nn.init.normal_(coupling.narrow.weight, std=0.5)  # type: ignore[union-attr,arg-type]
    return flow


@torch.no_grad()
def test_inverse_undoes_the_flow() -> None:
    flow, latent_BFD = moved(), torch.randn(2, 10, 6)
    flowed_BFD = flow(latent_BFD)
    assert float((flowed_BFD - latent_BFD).abs().max()) > 0.1
    torch.testing.assert_close(flow(flowed_BFD, inverse=True), latent_BFD, atol=1e-5, rtol=0)


def test_volume_is_kept() -> None:
    flow = moved(4).double()
    latent_BFD = torch.randn(1, 3, 4, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x), latent_BFD).view(12, 12)
    assert abs(float(torch.linalg.slogdet(jacobian).logabsdet)) < 1e-9


@torch.no_grad()
def test_it_starts_as_a_permutation_of_the_channels() -> None:
    latent_BFD = torch.randn(2, 5, 6)
    flowed_BFD = PosteriorFlow(6, hidden=8)(latent_BFD)
    torch.testing.assert_close(flowed_BFD.sort(dim=-1).values, latent_BFD.sort(dim=-1).values, atol=0, rtol=0)


@torch.no_grad()
def test_a_frame_depends_on_no_later_one() -> None:
    flow, latent_BFD = moved(), torch.randn(1, 10, 6)
    changed_BFD = latent_BFD.clone()
    changed_BFD[:, 6:] += 1
    assert torch.equal(flow(latent_BFD)[:, :6], flow(changed_BFD)[:, :6])
