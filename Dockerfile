# syntax=docker/dockerfile:1
# The agencybus command in an image: the lock's versions with verified hashes, no compiler, no root.
FROM python:3.11-slim AS build
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 \
 && uv venv /opt/agencybus
ENV VIRTUAL_ENV=/opt/agencybus
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY schemas schemas
COPY bus bus
COPY agents agents
COPY connectors connectors
# The lock constrains versions and hashes; its development tools are not asked for, so they stay out.
RUN uv pip install --no-cache --constraint requirements.lock .

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/agencybus --shell /usr/sbin/nologin agencybus \
 && install -d -o agencybus -g agencybus -m 0700 /var/lib/agencybus
COPY --from=build /opt/agencybus /opt/agencybus
ENV PATH=/opt/agencybus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 AGENCYBUS__DATA_DIR=/var/lib/agencybus
USER 10001
WORKDIR /var/lib/agencybus
CMD ["agencybus", "--help"]
