"""P3: LitServe with its whole-request batching; jobs of equal settings share a pipeline call."""

from __future__ import annotations

import os

import litserve
from fastapi import Response

from bench.engine.jobs import Job
from bench.engine.making import PipelineMaker, adapters_from_environment, model_from_environment

MAX_BATCH = 8
BATCH_TIMEOUT = 0.05  # seconds


class PipelineAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own signature
        self.maker = PipelineMaker(model_from_environment(), adapters_from_environment())

    # LitServe makes its HTTP route from these annotations; without one it hands over the JSON body.
    def decode_request(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return Job.from_json(request)

    def predict(self, x: list[Job]) -> list[bytes]:
        return self.maker.make_all(x)

    def batch(self, inputs: list[Job]) -> list[Job]:
        return inputs

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(
        PipelineAPI(api_path="/make", max_batch_size=MAX_BATCH, batch_timeout=BATCH_TIMEOUT), accelerator="cpu"
    )
    server.run(host="127.0.0.1", port=int(os.environ["BENCH_PORT"]), log_level="warning", generate_client_file=False)
