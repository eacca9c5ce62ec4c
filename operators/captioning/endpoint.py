"""Any vision model behind the OpenAI chat interface: vLLM, llama.cpp, Ollama, a cloud service.

Each region is a picture of its own: its surroundings, with its outline drawn.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.captioning.base import Captioner, Refusal, Words
from streamer.errors import ServiceError

if TYPE_CHECKING:
    import httpx

_OUTLINE_RGB = (255, 0, 0)
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}  # may go well the next time
_HOPELESS = {401, 403, 404, 405}  # no region will fare better
_LONGEST_WAIT_S = 60.0


class EndpointCaptions(Captioner):
    """Asks `POST {url}/chat/completions` about a crop of each region, several at a time.

    Args:
        url: up to and with the version, as in http://127.0.0.1:8000/v1.
        model: the model's name there.
        prompt: asks for the short form; the region is outlined in red.
        detail_prompt: asks for the long form, in a request of its own; "" asks for none.
        api_key_env: environment variable with the key; no key is sent when it is not set.
        concurrency: requests under way at the same time.
        timeout_s: longest silence of the server within a request.
        retries: further attempts after timeouts, broken connections and overload.
        backoff_s: pause before the first further attempt; it doubles with each.
        margin: surroundings shown, as a share of the region's box on every side.
        max_side_px: longer sides of a crop are scaled down to this.
        max_new_tokens: the longest answer, in tokens.
        logprobs: ask for token probabilities; not every server has them.
    """

    def __init__(
        self,
        url: str,
        model: str,
        prompt: str = "What is the object outlined in red? Answer with a short phrase.",
        detail_prompt: str = "",
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        timeout_s: float = 60.0,
        retries: int = 3,
        backoff_s: float = 1.0,
        margin: float = 0.5,
        max_side_px: int = 768,
        max_new_tokens: int = 128,
        logprobs: bool = False,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url is {url!r}; write http://host:port/v1")
        for name, value, least in (
            ("concurrency", concurrency, 1),
            ("retries", retries, 0),
            ("backoff_s", backoff_s, 0),
            ("margin", margin, 0),
            ("max_side_px", max_side_px, 16),
            ("max_new_tokens", max_new_tokens, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}; it is at least {least}")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s is {timeout_s}; it is above 0")
        self.url = url.rstrip("/")
        self.name = model
        self.prompt = prompt
        self.detail_prompt = detail_prompt
        self.api_key_env = api_key_env
        self.concurrency = concurrency
        self.timeout_s = timeout_s
        self.retries = retries
        self.backoff_s = backoff_s
        self.margin = margin
        self.max_side_px = max_side_px
        self.max_new_tokens = max_new_tokens
        self.logprobs = logprobs
        self._client: httpx.Client | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closing = threading.Event()

    def setup(self) -> None:
        """Open the connection and see whether anything answers."""
        try:
            import httpx
        except ImportError:
            raise ServiceError(
                "the captioner 'endpoint' needs httpx: pip install 'osprey-streamer[endpoint]'"
            ) from None
        key = os.environ.get(self.api_key_env, "")
        self._closing.clear()
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(self.timeout_s, connect=min(10.0, self.timeout_s), pool=None),
            limits=httpx.Limits(max_connections=self.concurrency),
        )
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        try:
            response = self._client.get(f"{self.url}/models")
        except httpx.TimeoutException:
            raise ServiceError(
                f"{self.url} gives no answer within {self.timeout_s:g} s; is the server ready?"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceError(
                f"{self.url} cannot be reached ({error}); start the server or correct url"
            ) from None
        if response.status_code in (401, 403):
            raise self._refused(response)

    def words(
        self, pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    ) -> list[list[Words | Refusal]]:
        pool = self._pool
        if pool is None:
            raise RuntimeError("setup() has to run before words()")
        waiting = [
            [
                [pool.submit(self._ask, image, mask, prompt) for mask in masks]
                for prompt in filter(None, (self.prompt, self.detail_prompt))
            ]
            for image, masks in pictures
        ]
        answers: list[list[Words | Refusal]] = []
        for forms in waiting:
            said = [[future.result() for future in futures] for futures in forms]
            details = said[1] if len(said) > 1 else [Words(text="")] * len(said[0])
            answers.append(
                [
                    short if isinstance(short, Refusal)
                    else long if isinstance(long, Refusal)
                    else Words(
                        text=short.text,
                        detail=long.text,
                        mean_logprob=short.mean_logprob,
                        tokens=short.tokens + long.tokens,
                    )
                    for short, long in zip(said[0], details, strict=True)
                ]
            )  # fmt: skip
        return answers

    def close(self) -> None:
        self._closing.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()
        self._pool = self._client = None

    def _ask(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], prompt: str
    ) -> Words | Refusal:
        """One question about one region, put again when it may help."""
        import httpx

        client = self._client
        if client is None:
            return Refusal("the captioner was closed")
        body = self._body(crop_with_outline(image, mask, self.margin, self.max_side_px), prompt)
        problem = ""
        for attempt in range(self.retries + 1):
            pause_s = self.backoff_s * 2**attempt
            try:
                response = client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TimeoutException:
                problem = f"no answer within {self.timeout_s:g} s"
            except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: closed meanwhile
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == 200:
                    return _read_answer(response)
                problem = f"status {response.status_code}: {_reason(response)}"
                if response.status_code in _HOPELESS:
                    raise self._refused(response)
                if response.status_code not in _AGAIN:
                    return Refusal(f"{self.url}: {problem}")
                pause_s = max(pause_s, _retry_after_s(response))
            last = attempt == self.retries
            if last or self._closing.wait(min(pause_s, _LONGEST_WAIT_S)):
                break
        return Refusal(f"{self.url}: {problem} (after {attempt + 1} attempts)")

    def _body(self, crop: NDArray[np.uint8], prompt: str) -> dict[str, Any]:
        done, encoded = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
        if not done:
            raise RuntimeError(f"a crop of {crop.shape} could not be encoded")
        picture = f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}"
        content = [
            {"type": "text", "text": prompt},
            {"type": "image_url", "image_url": {"url": picture}},
        ]
        return {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_new_tokens,
            "temperature": 0,
            **({"logprobs": True} if self.logprobs else {}),
        }

    def _refused(self, response: httpx.Response) -> ServiceError:
        hint = {
            401: f"set {self.api_key_env} to a valid key",
            403: f"the key in {self.api_key_env} may not do this",
        }.get(response.status_code, f"check url and the model's name {self.name!r}")
        return ServiceError(
            f"{self.url} answers {response.status_code} ({_reason(response)}); {hint}"
        )


def crop_with_outline(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], margin: float, max_side_px: int
) -> NDArray[np.uint8]:
    """A region with its surroundings and its outline in red.

    Args:
        margin: surroundings on every side, as a share of the box; the picture's border cuts.
        max_side_px: longest side of the result.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    grow_y, grow_x = round((y1 - y0) * margin) + 4, round((x1 - x0) * margin) + 4
    window = np.s_[
        max(0, y0 - grow_y) : min(mask.shape[0], y1 + grow_y),
        max(0, x0 - grow_x) : min(mask.shape[1], x1 + grow_x),
    ]
    crop, inside = image[window].copy(), mask[window].astype(np.uint8)
    scale = min(1.0, max_side_px / max(crop.shape[:2]))
    if scale < 1:
        size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
        inside = np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    # around the region, not over it, so that small things stay visible; where the region touches
    # the border, the outline falls outside
    around = cv2.dilate(np.pad(inside, 4), np.ones((3, 3), np.uint8), iterations=3)
    outlines, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(crop, outlines, -1, _OUTLINE_RGB, 2, offset=(-4, -4))
    return crop


def _read_answer(response: httpx.Response) -> Words | Refusal:
    try:
        choice = response.json()["choices"][0]
        text = choice["message"]["content"].strip()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Refusal(f"{response.url}: the answer has no choices[0].message.content")
    if not text:
        return Refusal(f"{response.url}: the answer is empty")
    try:
        tokens = [float(token["logprob"]) for token in choice["logprobs"]["content"]]
    except (KeyError, TypeError, ValueError):
        tokens = []
    mean = min(0.0, float(np.mean(tokens))) if tokens else None
    return Words(text=text, mean_logprob=mean, tokens=len(tokens or ()))


def _reason(response: httpx.Response) -> str:
    """What the server says went wrong, in one line."""
    try:
        said = response.json()["error"]
        said = said["message"] if isinstance(said, dict) else said
    except (ValueError, KeyError, TypeError):
        said = response.text
    return " ".join(str(said).split())[:160] or response.reason_phrase


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
