"""The settings of the `engine` section: where and how numbers are computed."""

from typing import Any, Literal

from pydantic import Field, model_validator

from tunny.core.console import say
from tunny.core.settings import Settings

OLD = {"sp": ("single", "fp32"), "sp-amp": ("single", "fp16"), "ddp-amp": ("ddp", "fp16")}


class EngineSettings(Settings):
    """Device, precision and memory."""

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, given: Any) -> Any:
        """Take PyMarlin's names of backends, which say the precision too, and print what they are called here."""
        if isinstance(given, dict) and given.get("strategy") in OLD:
            strategy, precision = OLD[given["strategy"]]
            say(f"engine.strategy: {given['strategy']} is called engine.strategy: {strategy} with engine.precision: {precision} here")
            return {"precision": precision, **given, "strategy": strategy}
        return given

    strategy: Literal["auto", "single", "ddp", "fsdp", "accelerate"] = Field(
        "auto",
        description="how processes started together train: ddp, each with the whole model; fsdp, each with a part; accelerate: on what Accelerate sets up; auto: ddp, or single",
    )
    device: str = Field("auto", description="auto, cpu, cuda, or cuda:N")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of matrix products; weights stay fp32. auto: bf16 where the hardware multiplies it fast"
    )
    variant: Literal["auto", "torch", "fp32", "fp16", "int8", "openvino"] = Field(
        "auto",
        description="what a trained model answers with: torch, or an exported form (openvino: that of fp32, by OpenVINO); auto: what `tunny bench` chose, else torch",
    )
    micro_batch_limit: int | None = Field(
        None, ge=1, description="most rows in one forward pass on one device; absent: the whole batch. Accumulation is exact"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory, about a third slower")
