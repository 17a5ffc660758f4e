"""Files in and out: decoding and encoding of video and audio, and pictures that compare clips."""
