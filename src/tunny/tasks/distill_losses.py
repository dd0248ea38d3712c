"""How far a student is from its teacher: pure functions of what the two models gave. What nobody is to learn weighs nothing.

Letters: B rows, T tokens, K labels, D numbers a token, H heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def of_answers(student: Tensor, teacher: Tensor, shares: Tensor, kind: str, temperature: float) -> Tensor:
    """Return the sum over positions of their `shares`, (B, T) or (B,), times the divergence of the logits there, (..., K).

    It is temperature squared times KL(teacher || student) of the softened probabilities (Hinton et al. 2015, "Distilling the
    Knowledge in a Neural Network"), for multilabel summed over the labels; for regress the squared difference.
    """
    if kind == "regress":
        return ((student - teacher).square().sum(-1) * shares).sum()
    if kind == "multilabel":  # a sigmoid is a softmax over its logit and 0
        student, teacher = (torch.stack([logits, torch.zeros_like(logits)], -1) for logits in (student, teacher))
    log_student, log_teacher = (functional.log_softmax(logits / temperature, -1) for logits in (student, teacher))
    apart = functional.kl_div(log_student, log_teacher, reduction="none", log_target=True).flatten(shares.ndim).sum(-1)
    return temperature**2 * (apart * shares).sum()


def of_states(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Return (B,) the mean over layers and real tokens of the squared distance of states scaled to length 1: 2 - 2 cosine.

    States are (B, T, D) for each of the layers, `mask` is (B, T), 0 at padding.
    """
    pairs = zip(student, teacher, strict=True)
    return _mean([2.0 - 2.0 * functional.cosine_similarity(own.float(), other.float(), dim=-1) for own, other in pairs], mask)


def of_attentions(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Return (B,) the mean over layers, heads and real tokens of the squared distance of what they attend to.

    Probabilities are (B, H, T, T) for each of the layers, `mask` is (B, T); where the numbers of heads differ, their mean is compared.
    """
    apart = []
    for own, other in zip(student, teacher, strict=True):
        if own.shape[1] != other.shape[1]:
            own, other = own.mean(1, keepdim=True), other.mean(1, keepdim=True)
        apart.append(((own.float() - other.float()).square() * mask[:, None, None]).sum(-1).mean(1))
    return _mean(apart, mask)


def _mean(values: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Return the mean (B,) of the values of layers (B, T) over the tokens that are not padding."""
    return (torch.stack(list(values)).mean(0) * mask).sum(1) / mask.sum(1)
