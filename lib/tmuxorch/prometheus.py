"""Prometheus' text format: the one module that knows its client library."""

from __future__ import annotations

from .errors import Error


def text(families: list[dict]) -> str:
    """The metrics as Prometheus reads them. Raises Error when the library is not installed."""
    try:
        from prometheus_client import CollectorRegistry, Metric, generate_latest
    except ImportError:
        raise Error("--prometheus needs the package prometheus_client: pip install 'tmuxorch[metrics]'") from None

    class Families:
        def collect(self) -> list[Metric]:
            metrics = []
            for family in families:
                metric = Metric(family["name"].removesuffix("_total"), family["help"], family["type"])
                for sample in family["samples"]:
                    metric.add_sample(sample["name"], sample["labels"], sample["value"])
                metrics.append(metric)
            return metrics

    registry = CollectorRegistry()
    registry.register(Families())
    return generate_latest(registry).decode()
