# Two commands do all: `make demo` and `make test`. Both make .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check slow-test live-check broker-check view-check gpu-check wheel-check clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ #/' | column -t -s '#'

setup: $(STAMP)  ## .venv with everything pinned in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt \
		-e '.[dev,clip,endpoint,official,decord,scroll,ray,metrics,brokers,parquet,remote,terminal,view]'
	@touch $@

demo: setup  ## render a film, caption it, and say where the results lie
	$(BIN)/streamer demo -o out/demo

check: setup  ## ruff, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

test: check  ## all checks and the test suite
	$(BIN)/python -m pytest

slow-test: setup  ## what takes too long for `make test`
	$(BIN)/python -m pytest -m slow

# an RTSP server from the distribution's packages; it listens on loopback only
RTSP_SERVER := python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
	gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
live-check: setup  ## cameras over RTSP: a real server, killed, hanging, refusing (Debian, root)
	/usr/bin/python3 -c "import gi; gi.require_version('GstRtspServer', '1.0')" 2>/dev/null \
		|| apt-get install -y --no-install-recommends $(RTSP_SERVER) \
		|| sudo apt-get install -y --no-install-recommends $(RTSP_SERVER)
	$(BIN)/python -m pytest -m live -rP tests/live

broker-check: setup  ## brokers away for a minute each (mosquitto, redis-server, postgresql where installed)
	$(BIN)/python -m pytest -m slow -rPs tests/streamer/sinks/test_brokers.py

view-check: setup  ## the viewer in a real browser (Chromium of the distribution)
	$(BIN)/python -m pytest -m browser -rsP tests/viewer

gpu-check:  ## every CUDA test and the benchmark; needs no .venv, only torch and a few others
	PYTHONPATH=$(CURDIR) $(PYTHON) -m model.evaluation.gpu_check

wheel-check: setup  ## build the wheel, install it into an empty environment, run it
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps -w build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet -c constraints.txt build/wheel/*.whl
	cd build/wheel && venv/bin/streamer --help && venv/bin/streamer doctor \
		&& for name in quickstart documentary surveillance private batch live alerts; do venv/bin/streamer check $$name || exit 2; done

clean:  ## remove what the other targets made
	rm -rf .venv out build dist .pytest_cache .mypy_cache .ruff_cache
