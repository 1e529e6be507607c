#!/usr/bin/env python
"""Train a ConvMixer: `python experiment.py --help`."""

import convmixer

if __name__ == "__main__":
    convmixer.main()
