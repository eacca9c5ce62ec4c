"""The sound of one file carried over into another, without re-encoding where MP4 takes it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

_MP4_TAKES = {"aac", "mp3", "ac3", "eac3", "alac", "opus"}


class AudioCopy:
    """Moves sound from a file into an output, as far as the picture has come."""

    def __init__(
        self,
        source: av.container.InputContainer,
        output: av.container.OutputContainer,
        offset_s: Fraction,
    ) -> None:
        self._source = source
        self._output = output
        self._offset_s = offset_s
        stream = source.streams.audio[0]
        self._copies = stream.codec_context.codec.canonical_name in _MP4_TAKES
        if self._copies:
            self._stream = output.add_stream_from_template(stream)
        else:
            rate = stream.codec_context.sample_rate
            self._stream = output.add_stream("aac", rate=rate)
        self._packets = self._shifted(source.demux(stream))
        self._next = next(self._packets, None)

    @classmethod
    def of(
        cls, path: Path, output: av.container.OutputContainer, offset_s: Fraction
    ) -> AudioCopy | None:
        """The sound of a file from `offset_s` (media time) on; None where it has none."""
        try:
            source = av.open(str(path), metadata_errors="replace")
        except (av.FFmpegError, OSError):
            return None
        if not source.streams.audio:
            source.close()
            return None
        if offset_s > 1:
            # a little early: what lies before the offset is left out packet by packet
            source.seek(int((offset_s - 1) * av.time_base))
        return cls(source, output, offset_s)

    def up_to(self, time_s: Fraction) -> None:
        """Write everything before a time of the output."""
        while self._next is not None and _time_s(self._next) <= time_s:
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def close(self, end_s: Fraction) -> None:
        """Write the rest that lies before the end of the picture."""
        self.up_to(end_s)
        self._source.close()

    def _shifted(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Packets of the output stream, with 0 where the picture starts."""
        if not self._copies:
            yield from self._encoded(packets)
            return
        try:
            for packet in packets:
                if packet.pts is None or packet.dts is None or packet.time_base is None:
                    continue
                shift = round(self._offset_s / packet.time_base)
                if packet.pts < shift:
                    continue
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = self._stream
                yield packet
        except av.FFmpegError:
            return  # damaged sound ends early; the picture tells where the film is broken

    def _encoded(self, packets: Iterator[Any]) -> Iterator[Any]:
        rate = self._stream.codec_context.sample_rate
        try:
            for packet in packets:
                for frame in packet.decode():
                    if frame.pts is None or frame.time_base is None:
                        continue
                    start_s = frame.pts * frame.time_base - self._offset_s
                    if start_s < 0:
                        continue
                    # the encoder counts samples: a container's milliseconds are too coarse for it
                    frame.pts, frame.time_base = round(start_s * rate), Fraction(1, rate)
                    yield from self._stream.encode(frame)
        except av.FFmpegError:
            pass  # damaged sound ends early; the picture tells where the film is broken
        yield from self._stream.encode(None)


def _time_s(packet: Any) -> Fraction:
    return Fraction((packet.pts or 0) * (packet.time_base or 1))
