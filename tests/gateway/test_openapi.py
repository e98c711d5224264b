"""Schemathesis reads our OpenAPI document and sends what it allows and what it forbids: no 5xx, no code we hide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from tests.gateway.live import Live, tiny_server
from tests.search import shop
from tuneloop.encoders.choice import open_encoder
from tuneloop.search import catalogue
from tuneloop.search.catalogue_sources import Product

ROUTES = tuple(
    f"{method} {path}"
    for path, methods in {
        "/v1/chat/completions": "POST",
        "/v1/completions": "POST",
        "/v1/embeddings": "POST",
        "/v1/models": "GET",
        "/v1/models/{name}": "GET",
        "/feedback": "POST",
        "/versions": "GET",
        "/versions/{reference}/activate": "POST",
        "/health": "GET",
        "/tasks": "GET",
        "/tasks/{name}": "GET PUT DELETE",
        "/tasks/{name}/variants/{variant}": "PUT DELETE",
        "/tasks/{name}/weights": "POST",
        "/engines": "GET",
        "/engines/{name}": "GET PUT DELETE",
        "/config": "GET",
        "/config/undo": "POST",
        "/experiments": "GET POST",
        "/experiments/{name}": "GET",
        "/experiments/{name}/verdict": "GET",
        "/experiments/{name}/select": "POST",
        "/experiments/{name}/outcomes": "POST",
        "/experiments/{name}/stop": "POST",
        "/experiments/{name}/promote": "POST",
        "/experiments/{name}/rollback": "POST",
        "/tasks/{name}/switch": "GET PUT",
        "/quality": "POST",
        "/quality/compare": "POST",
        "/quality/stats": "GET",
        "/replays": "GET POST",
        "/replays/{name}": "GET",
        "/replays/{name}/next": "GET",
        "/replays/{name}/judgements": "POST",
        "/replays/{name}/end": "POST",
        "/optimisations": "GET POST",
        "/optimisations/{identity}": "GET",
        "/models": "GET",
        "/models/running": "GET",
        "/models/trials": "GET",
        "/models/pull": "POST",
        "/models/create": "POST",
        "/models/copy": "POST",
        "/models/{name}": "DELETE",
        "/stats": "GET",
        "/stats/by/{group}": "GET",
        "/stats/models/{model}": "GET",
        "/health/history": "GET",
        "/metrics": "GET",
        "/collections": "GET POST",
        "/collections/{name}": "DELETE",
        "/collections/{name}/stats": "GET",
        "/collections/{name}/documents": "GET POST",
        "/collections/{name}/documents/{identity}": "DELETE",
        "/collections/{name}/cleanup": "POST",
        "/collections/{name}/search": "POST",
        "/collections/{name}/generate": "POST",
        "/tables": "GET POST",
        "/tables/loads/{load}": "GET",
        "/tables/{table}": "GET DELETE",
        "/tables/{table}/ask": "POST",
        "/tables/{table}/clicks": "POST",
        "/catalogue/search": "POST",
        "/catalogue/items": "GET",
        "/catalogue/items/{item}": "GET",
        "/catalogue/pictures/{picture}": "GET",
        "/catalogue/feedback": "POST",
        "/catalogue/feedback/undo": "POST",
        "/catalogue/proposals": "GET POST",
        "/catalogue/proposals/{proposal}": "POST",
        "/catalogue/people/{user}": "GET DELETE",
        "/catalogue/versions": "GET",
        "/catalogue/versions/rollback": "POST",
        "/catalogue/versions/{version}/activate": "POST",
        "/keys": "GET POST",
        "/keys/{identity}": "DELETE",
        "/keys/{identity}/rotate": "POST",
    }.items()
    for method in methods.split()
)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    with tiny_server(folder, context=256, timeout=20.0) as live:
        shop.product("red ball").save(folder / "0.png")
        product = Product("0", "0", "0", pictures=(folder / "0.png",))
        catalogue.put(live.workspace, [product], open_encoder("classical"))
        yield live


@pytest.fixture(scope="module")
def document(live: Live) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(live.url + "/openapi.json")


def test_all_routes_are_tried(live: Live) -> None:
    document = live.get("/openapi.json").json()
    said = {f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found}
    assert said == set(ROUTES)


@pytest.mark.parametrize(
    ("route", "mode"),
    [(route, GenerationMode.POSITIVE) for route in ROUTES]
    # a GET cannot be wrong, nor can a POST without a body
    + [
        (route, GenerationMode.NEGATIVE)
        for route in ROUTES
        if route.startswith("POST") and route not in ("POST /config/undo", "POST /replays/{name}/end")
    ],
)
@pytest.mark.parametrize("examples", [15, pytest.param(100, marks=pytest.mark.soak)])
def test_every_route_keeps_its_word(
    document: schemathesis.BaseSchema, route: str, mode: GenerationMode, examples: int
) -> None:
    operation = next(o.ok() for o in document.get_all_operations() if o.ok().label == route)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Case) -> None:
        if isinstance(case.body, dict) and case.body.get("messages"):
            case.body["max_tokens"] = 2  # or the tiny model would talk until its window is full, every time
            if mode is GenerationMode.POSITIVE:
                case.body["model"] = "active"  # any other name ends at 404
        case.call_and_validate(checks=CHECKS, timeout=30)

    send()
