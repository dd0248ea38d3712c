"""The settings of the `engine` section: where and how numbers are computed."""

from typing import Literal

from pydantic import Field

from tunny.core.settings import Settings


class EngineSettings(Settings):
    """Device, precision and memory."""

    strategy: Literal["auto", "single"] = Field("auto", description="how many processes train together; single: one")
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
