"""The service: what it serves, what it refuses, and that nothing accepted is lost. All requests go to 127.0.0.1."""

import asyncio
import json
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.soak import cases, scaled
from utils.errors import ConfigError, RunError
from utils.service import Limits, Refusal, Server, Service
from utils.service.counters import BATCH_BOUNDS, Counters, percentile
from utils.service.intake import parse_texts

SMALL = Limits(body_bytes=2000, texts=4, characters=50, head_seconds=0.6, body_seconds=0.6, queue=16, batch=4)


def reverse(texts):
    """A model whose right answer is known."""
    return [{"text": text[::-1]} for text in texts]


def slow(seconds):
    def predict(texts):
        time.sleep(seconds)
        return reverse(texts)

    return predict


def client(server, **options):
    return httpx.Client(base_url=server.url, trust_env=False, timeout=20, **options)


def metric(text, name):
    return float(re.search(rf"(?m)^{re.escape(name)} (\S+)$", text).group(1))


@pytest.fixture(scope="module")
def server():
    with Server(Service(reverse, "v1", SMALL)) as running:
        yield running


@pytest.fixture
def http(server):
    with client(server) as connection:
        yield connection


def raw(server, data, wait=5.0):
    """What the server answers to some bytes, until it closes the connection; and after how many seconds."""
    started = time.perf_counter()
    with socket.create_connection(server.url.removeprefix("http://").split(":"), timeout=wait) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received, time.perf_counter() - started


# --- what is served ----------------------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_texts_with_the_version_of_the_model(http):
    answer = http.post("/predict", json={"texts": ["甲乙", "abc"]})
    assert answer.status_code == 200
    assert answer.json() == {"results": [{"text": "乙甲", "model": "v1"}, {"text": "cba", "model": "v1"}]}


def test_the_service_says_that_it_is_well_and_counts_what_the_client_saw():
    with Server(Service(reverse, "v7", SMALL)) as server, client(server) as http:
        assert http.get("/health").json() == {"status": "ok", "model": "v7", "waiting": 0}
        for _ in range(3):
            http.post("/predict", json={"texts": ["甲", "乙"]})
        http.post("/predict", json={"texts": []})
        text = http.get("/metrics").text
    assert metric(text, 'book_requests_total{status="200"}') == 3
    assert metric(text, 'book_requests_total{status="422"}') == 1
    assert metric(text, "book_texts_total") == metric(text, "book_batch_size_sum") == 6
    assert metric(text, 'book_model_info{version="v7"}') == 1
    assert 0 < metric(text, 'book_seconds{quantile="0.5"}') <= metric(text, 'book_seconds{quantile="0.95"}') < 5
    assert all(re.fullmatch(r'# TYPE \w+ \w+|\w+(\{\w+="[^"]*"\})? \S+', line) for line in text.splitlines())


def test_the_server_listens_on_loopback_alone_and_a_taken_port_is_named(server):
    port = int(server.url.rsplit(":", 1)[1])
    assert server.url.startswith("http://127.0.0.1:") and server._socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(RunError, match=str(port)):
        Server(Service(reverse), port=port)


def test_answers_leave_at_once_and_do_not_wait_for_the_client_to_acknowledge(server, monkeypatch):
    delays = []
    made = asyncio.selector_events._SelectorSocketTransport.__init__

    def noted(self, loop, sock, *rest, **named):
        made(self, loop, sock, *rest, **named)
        delays.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(asyncio.selector_events._SelectorSocketTransport, "__init__", noted)
    with client(server) as connection:
        assert connection.get("/health").status_code == 200
    assert delays and all(delays)


def test_a_stopped_server_answers_no_more_and_may_be_stopped_twice():
    server = Server(Service(reverse)).start()
    assert httpx.get(server.url + "/health", trust_env=False).status_code == 200
    server.stop()
    server.stop()
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url + "/health", trust_env=False)


# --- what is refused ---------------------------------------------------------------------------------------------------

JSON = {"content-type": "application/json"}
BAD = {
    "no JSON": (b"{", 400), "nothing": (b"", 400), "not UTF-8": (b'{"texts": ["\xff"]}', 400),
    "NaN": (b'{"texts": NaN}', 400), "nested": (b"[" * 1500, 400), "long integer": (b"9" * 1900, 422),
    "a list": (b"[]", 422), "another key": (b'{"text": ["a"]}', 422), "one key more": (b'{"texts": ["a"], "x": 1}', 422),
    "a string": (b'{"texts": "abc"}', 422), "no text": (b'{"texts": []}', 422), "blank": (b'{"texts": [" "]}', 422),
    "a number": (b'{"texts": [1]}', 422), "null": (b'{"texts": [null]}', 422),
    "too many": (json.dumps({"texts": ["a"] * 5}).encode(), 422), "too long": (json.dumps({"texts": ["a" * 51]}).encode(), 422),
    "surrogate": (b'{"texts": ["\\ud800"]}', 422), "oversized": (json.dumps({"texts": ["a" * 3000]}).encode(), 413),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_gets_its_own_status_and_one_line_that_says_why(http, name):
    body, status = BAD[name]
    answer = http.post("/predict", content=body, headers=JSON)
    if name == "long integer":  # Python refuses to convert it where its limit is low; both answers are clear
        assert answer.status_code in (400, 422)
    else:
        assert answer.status_code == status
    reason = answer.json()["error"]
    assert list(answer.json()) == ["error"] and reason and "\n" not in reason and len(reason) < 150


def test_addresses_methods_and_types_that_are_not_served_are_refused(http):
    assert http.get("/predict").status_code == 405 and http.get("/predict").json()["error"]
    for page in ("/", "/docs", "/openapi.json", "/predict/"):
        answer = http.get(page)
        assert (answer.status_code, list(answer.json())) == (404, ["error"]), page
    assert http.post("/predict", content=b'{"texts": ["a"]}', headers={"content-type": "text/plain"}).status_code == 415


@pytest.mark.parametrize("size", [3_000, 120_000, 1_000_000])
def test_a_body_that_is_too_large_is_refused_with_or_without_an_announced_length(http, size):
    def chunks():
        for _ in range(size // 1000):
            yield b"x" * 1000

    for content in (b"x" * size, chunks()):
        try:
            answer = http.post("/predict", content=content, headers=JSON)
            assert answer.status_code == 413
        except httpx.TransportError:  # far above the limit the server stops reading: the client may see only that
            assert size > 64 * SMALL.body_bytes
    assert http.post("/predict", json={"texts": ["还在"]}).status_code == 200


def test_a_client_that_asks_before_sending_too_much_is_told_at_once(server):
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n"
    received, seconds = raw(server, head + b"expect: 100-continue\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413") and seconds < 0.5


@pytest.mark.parametrize("data", [
    b"", b"POST /pre", b"POST /predict HTTP/1.1\r\nhost: x\r\n",
    b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n{\"te",
    b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"te\r\n",
], ids=["nothing", "half a line", "half a head", "half a body", "half a chunked body"])
def test_whoever_stops_sending_gets_408_and_the_connection_is_closed_in_time(server, data):
    received, seconds = raw(server, data)
    assert b"HTTP/1.1 408" in received and seconds < 2.5


def test_a_connection_that_rests_or_halts_in_a_second_request_is_closed_in_time(server):
    for rest in (b"", b"GET /hea"):
        received, seconds = raw(server, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" + rest)
        assert received.startswith(b"HTTP/1.1 200") and seconds < 2.5


def test_a_byte_at_a_time_does_not_move_the_deadline(server):
    started = time.perf_counter()
    with socket.create_connection(server.url.removeprefix("http://").split(":"), timeout=5) as connection:
        with pytest.raises(OSError):
            for byte in b"GET /health HTTP/1.1\r\nx-padding: " + b"a" * 200:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
    assert time.perf_counter() - started < 2.5


@pytest.mark.parametrize("data", [b"\x00\x01\x02\r\n\r\n", b"GET /\r\n\r\n", b"POST /predict HTTP/1.1\r\ncontent-length: -1\r\n\r\n"])
def test_what_is_not_http_is_refused_and_the_connection_closed(server, data):
    received, seconds = raw(server, data)
    assert received.startswith(b"HTTP/1.1 400") and seconds < 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12,
)
bodies = json_values | st.fixed_dictionaries({"texts": st.lists(json_values, max_size=6)}) | st.fixed_dictionaries(
    {"texts": st.lists(st.text(st.characters(), max_size=60), max_size=5)}
)


@pytest.fixture(scope="module")
def patient():
    """A client of a server that gives it a minute: on a busy machine the client, too, may be late."""
    limits = replace(SMALL, head_seconds=60, body_seconds=60)
    with Server(Service(reverse, "v1", limits)) as running, client(running) as connection:
        yield connection


@scaled
@cases(1_000)
@given(bodies, st.booleans())
def test_no_json_body_makes_the_server_fail(patient, body, escape):
    try:
        content = json.dumps(body, ensure_ascii=escape).encode("utf-8", "surrogatepass")
    except UnicodeEncodeError:
        return
    answer = patient.post("/predict", content=content, headers=JSON)
    assert answer.status_code in (200, 400, 413, 422)
    if answer.status_code == 200:
        assert [row["text"] for row in answer.json()["results"]] == [text[::-1] for text in body["texts"]]
    else:
        assert answer.json()["error"]


@scaled
@cases(1_000)
@given(st.binary(max_size=200) | bodies.map(lambda body: json.dumps(body).encode()))
def test_parsing_gives_the_texts_or_a_refusal_and_nothing_else(body):
    try:
        texts = parse_texts(body, SMALL)
    except Refusal as refusal:
        assert refusal.status in (400, 422)
    else:
        assert json.loads(body) == {"texts": texts} and 1 <= len(texts) <= 4
        assert all(isinstance(text, str) and text.strip() and len(text) <= 50 for text in texts)


heads = st.tuples(
    st.sampled_from([b"POST /predict HTTP/1.1", b"GET /health HTTP/1.1", b"GET /metrics HTTP/1.0", b"PUT / HTTP/9.9"]),
    st.lists(st.sampled_from([b"host: x", b"content-type: application/json", b"content-length: 4", b"content-length: -1",
                              b"transfer-encoding: chunked", b"expect: 100-continue", b"connection: close", b"upgrade: h2c"])
             | st.binary(max_size=12), max_size=5),
    st.sampled_from([b"\r\n", b"\n", b""]), st.binary(max_size=30) | st.just(b'{"texts": ["x"]}'),
).map(lambda made: b"\r\n".join([made[0], *made[1]]) + b"\r\n" + made[2] + made[3])


@scaled
@cases(1_000)
@given(heads | st.binary(max_size=60))
def test_no_bytes_on_the_wire_make_the_server_fail_or_hang(server, data):
    with socket.create_connection(server.url.removeprefix("http://").split(":"), timeout=5) as connection:
        received = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:  # closed while there was more to read
            pass
    for status in re.findall(rb"HTTP/1\.1 (\d\d\d)", received):
        assert int(status) < 500, received


def test_limits_that_make_no_sense_are_refused():
    for change in ({"texts": 0}, {"body_seconds": -1}, {"texts": 9, "queue": 8}):
        with pytest.raises(ConfigError):
            Limits(**change)


# --- batches, overload, failure ----------------------------------------------------------------------------------------


def post_all(server, bodies, workers=None):
    """POST many bodies at once: the answers in the order of the bodies, or the exception."""

    def one(body):
        try:
            return http.post("/predict", json=body)
        except httpx.TransportError as error:
            return error

    limits = httpx.Limits(max_connections=None)
    with client(server, limits=limits) as http, ThreadPoolExecutor(workers or len(bodies)) as pool:
        return list(pool.map(one, bodies))


def test_concurrent_requests_share_a_batch_and_each_gets_its_own_answer():
    sizes = []

    def predict(texts):
        sizes.append(len(texts))
        return slow(0.05)(texts)

    with Server(Service(predict, limits=Limits(batch=8))) as server:
        answers = post_all(server, [{"texts": [f"请求{i}"]} for i in range(20)])
    assert [answer.json()["results"][0]["text"] for answer in answers] == [f"请求{i}"[::-1] for i in range(20)]
    assert sum(sizes) == 20 and max(sizes) <= 8 and len(sizes) < 12


def test_what_does_not_fit_into_the_queue_is_refused_at_once_and_the_rest_is_answered():
    with Server(Service(slow(0.1), limits=Limits(queue=8, batch=4, texts=8))) as server:
        started = time.perf_counter()
        answers = post_all(server, [{"texts": [f"{i}"]} for i in range(30)])
        seconds = time.perf_counter() - started
        counted = server.service.counters
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503} and seconds < 5
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
    assert all(answer.json()["results"][0]["text"] == f"{i}"[::-1] for i, answer in enumerate(answers) if answer.status_code == 200)
    assert counted.texts == counted.requests[200] == statuses.count(200)


def test_a_text_on_which_the_model_fails_does_not_fail_its_neighbours(caplog):
    def predict(texts):
        if "毒" in texts:
            raise RuntimeError("insides of the model")
        return slow(0.05)(texts)

    with Server(Service(predict, limits=Limits(batch=8))) as server:
        answers = post_all(server, [{"texts": ["毒" if i == 5 else f"{i}"]} for i in range(12)])
        failures = server.service.counters.failures
    assert [answer.status_code for answer in answers] == [500 if i == 5 else 200 for i in range(12)]
    assert "insides" not in answers[5].text and "insides" in caplog.text and failures == 1


def test_a_model_that_returns_too_few_results_is_a_failure_not_a_shift(caplog):
    with Server(Service(lambda texts: reverse(texts)[1:])) as server:
        assert [answer.status_code for answer in post_all(server, [{"texts": ["甲", "乙"]}] * 3)] == [500] * 3


def test_a_model_that_hangs_is_given_up_after_the_time_for_answers():
    release = threading.Event()

    def predict(texts):
        release.wait(10)
        return reverse(texts)

    with Server(Service(predict, limits=Limits(answer_seconds=0.3))) as server, client(server) as http:
        started = time.perf_counter()
        assert http.post("/predict", json={"texts": ["甲"]}).status_code == 503
        assert time.perf_counter() - started < 2
        assert http.get("/health").status_code == 200
        release.set()
        assert http.post("/predict", json={"texts": ["甲"]}).status_code == 200


def test_stopping_answers_everything_that_was_accepted():
    service = Service(slow(0.1), limits=Limits(batch=2))
    server = Server(service).start()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(post_all, server, [{"texts": [f"{i}"]} for i in range(20)])
        while service.counters.texts < 20:
            time.sleep(0.005)
        server.stop()
        answers = sending.result()
    assert [answer.json()["results"][0]["text"] for answer in answers] == [f"{i}"[::-1] for i in range(20)]


def test_a_swap_under_load_loses_nothing_and_every_result_names_its_model():
    def model(version):
        return lambda texts: [row | {"by": version} for row in slow(0.01)(texts)]

    service = Service(model("v1"), "v1", Limits(batch=4))
    with Server(service) as server, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(post_all, server, [{"texts": [f"{i}", "乙"]} for i in range(120)], 12)
        for version, accepted in (("v2", 60), ("v1", 120), ("v2", 180)):  # of 240 texts, at most 24 at once
            while service.counters.texts < accepted and not sending.done():
                time.sleep(0.001)
            service.use(model(version), version)
        answers = sending.result()
        last = httpx.post(server.url + "/predict", json={"texts": ["末"]}, trust_env=False).json()["results"][0]
    rows = [row for answer in answers for row in answer.json()["results"]]
    assert len(rows) == 240 and all(row["by"] == row["model"] for row in rows)
    assert {row["model"] for row in rows} == {"v1", "v2"} and last["by"] == "v2"


# --- everything at once ------------------------------------------------------------------------------------------------


async def _mixed_load(server, count):
    """`count` clients at once: half send good requests, the others oversized, malformed, slow ones. (kind, outcome)s."""
    host, port = server.url.removeprefix("http://").split(":")

    async def unfinished(data):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(data)
            for _ in range(100):  # a byte now and then, until the server has had enough
                if reader.at_eof():
                    break
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.1)
            return (await reader.read())[9:12].decode() or "closed"
        except ConnectionError:
            return "closed"
        finally:
            writer.close()

    async def one(number):
        kind = ("good", "oversized", "good", "malformed", "good", "slow head", "good", "slow body")[number % 8]
        if kind == "slow head":
            return kind, await unfinished(b"POST /predict HTTP/1.1\r\nx: ")
        if kind == "slow body":
            head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n"
            return kind, await unfinished(head)
        content = {"good": json.dumps({"texts": [f"第{number}号"]}).encode(), "oversized": b"x" * 50_000, "malformed": b"{]"}
        for attempt in range(40):
            try:
                answer = await http.post("/predict", content=content[kind], headers=JSON)
            except httpx.TransportError as error:
                return kind, f"lost: {error!r}"
            if answer.status_code != 503:
                right = kind != "good" or answer.json()["results"][0]["text"] == f"第{number}号"[::-1]
                return kind, str(answer.status_code) if right else "wrong answer"
            await asyncio.sleep(random.uniform(0.05, 0.2))
        return kind, "503"

    # A connection for each request: one that rests may be closed by the server at the moment of its next use.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    options = {"trust_env": False, "timeout": 30, "limits": limits}
    async with httpx.AsyncClient(base_url=server.url, **options) as http:
        return await asyncio.gather(*(one(number) for number in range(count)))


@pytest.mark.parametrize("count, seconds", [(20, 8), pytest.param(200, 25, marks=pytest.mark.soak)])
def test_under_mixed_load_the_bad_are_refused_in_time_and_no_accepted_request_is_lost(count, seconds):
    service = Service(slow(0.02), limits=replace(SMALL, head_seconds=2.0, body_seconds=2.0))
    with Server(service) as server:
        started = time.perf_counter()
        with ThreadPoolExecutor(1) as other:  # an event loop may run in this thread: Playwright leaves one behind
            outcomes = other.submit(lambda: asyncio.run(_mixed_load(server, count))).result()
        elapsed = time.perf_counter() - started
        assert httpx.get(server.url + "/health", trust_env=False).json()["waiting"] == 0
    assert elapsed < seconds
    expected = {"good": {"200"}, "oversized": {"413"}, "malformed": {"400"}, "slow head": {"408", "closed"},
                "slow body": {"408", "closed"}}
    assert all(outcome in expected[kind] for kind, outcome in outcomes), outcomes
    good = sum(kind == "good" for kind, _ in outcomes)
    assert service.counters.texts == service.counters.requests[200] == good == count // 2


# --- counting ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_percentiles_are_those_of_numpy_by_nearest_rank(values, share):
    assert percentile(values, share) == np.quantile(values, share, method="inverted_cdf")


def test_batches_are_counted_in_the_bucket_whose_bound_they_do_not_exceed():
    counters, sizes = Counters(), [1, 1, 2, 3, 16, 17, 40]
    for size in sizes:
        counters.batch(size)
    text = counters.text('a"b\\c', 3)
    for bound in BATCH_BOUNDS:
        assert metric(text, f'book_batch_size_bucket{{le="{bound}"}}') == sum(size <= bound for size in sizes)
    assert metric(text, 'book_batch_size_bucket{le="+Inf"}') == metric(text, "book_batch_size_count") == len(sizes)
    assert 'version="a\\"b\\\\c"' in text and counters.mean_batch() == pytest.approx(np.mean(sizes))
