# MaskAL with the GPUs of the host. INSTALL.md has the commands.
#
# Of the host it needs the NVIDIA driver and the NVIDIA container toolkit; CUDA comes with PyTorch's own packages.
FROM python:3.12-slim

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    FVCORE_CACHE=/data/.maskal_cache

COPY . /maskal
RUN pip install --no-cache-dir --editable /maskal

# Settings, images and results of the user.
WORKDIR /data
ENTRYPOINT ["maskal"]
CMD ["--help"]
