# ConvMixer lab without a GPU, as a user who is not root.
#   docker build -t convmixer-lab .
#   docker run --rm convmixer-lab python experiment.py predict weights/small-cifar10.safetensors docs/ship.png
#   docker run --rm -v runs:/home/student/lab/logs -v data:/home/student/lab/data convmixer-lab
#   docker run --rm -v runs:/home/student/lab/logs -p 127.0.0.1:5005:5005 convmixer-lab python experiment.py dashboard --host 0.0.0.0
# pip's torch for Linux on x86 contains CUDA's libraries, some 5 GB. The index of CPU wheels that pytorch.org's
# "Get started" names makes the image small: docker build --build-arg TORCH_INDEX=... -t convmixer-lab .
FROM python:3.12-slim

# The compiler builds the native kernels at the first training; without it, training is slower.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home student \
    && mkdir -p /home/student/lab/logs /home/student/lab/data \
    && chown -R student /home/student/lab

USER student
WORKDIR /home/student/lab
ENV PATH=/home/student/venv/bin:$PATH PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
ARG TORCH_INDEX=
COPY --chown=student requirements.txt ./
RUN python -m venv /home/student/venv \
    && if [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" $(grep -E '^torch(vision)?==' requirements.txt); fi \
    && pip install -r requirements.txt

COPY --chown=student .labml.yaml LICENSE experiment.py pyproject.toml ./
COPY --chown=student convmixer convmixer
COPY --chown=student weights weights
COPY --chown=student docs/ship.png docs/

CMD ["python", "experiment.py"]
