"""What can be watched: every metric has a name that is known beforehand."""

from __future__ import annotations

from harness import upload, wait
from prometheus_client.parser import text_string_to_metric_families

from telltale.delivery.metrics import METRIC_NAMES


def test_a_worker_shows_its_events_its_lag_and_nothing_under_an_unknown_name(cluster) -> None:
    cluster.send(*(upload(f"i{i}") for i in range(20)), upload("fails", "fail"))
    with cluster.worker("batched", "single") as worker:
        worker.ready()
        cluster.read("images.admitted", least=40)
        cluster.read("images.uploaded.dead", least=2)
        wait(lambda: worker.health("single")["lag_events"] == 0, 30, "no lag")
        text = worker.page("metrics")[1].decode()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    known = {name.removesuffix("_total") for name in METRIC_NAMES}
    assert {n for n in families if not n.endswith("_created")} == known
    (stages, up) = zip(
        *((s.labels, s.value) for s in families["telltale_dependency_up"].samples), strict=True
    )
    assert [s["dependency"] for s in stages] == ["kafka", "kafka"]
    assert up == (1.0, 1.0), "shown while all is well"
    finished = {
        (s.labels["stage"], s.labels["outcome"]): s.value
        for s in families["telltale_outcomes"].samples
        if s.name == "telltale_outcomes_total"
    }
    assert finished == {
        (stage, outcome): count
        for stage in ("batched", "single")
        for outcome, count in (("answered", 20.0), ("dead", 1.0))
    }
