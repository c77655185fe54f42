"""Settings of all processes, from the environment. Secrets come as files or references, never as plain values."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every name is read from ``CLOUDWARD_<NAME>``. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="CLOUDWARD_", extra="ignore")

    database_url: str = Field(
        default="postgresql://localhost/cloudward",
        description="Postgres URL of this process's own role, without the password where database_password_file is set.",
    )
    database_password_file: Path | None = Field(default=None, description="File that holds the role's password.")
    database_pool: int = Field(default=8, ge=2, le=100, description="Connections of this process at most.")
    nats_url: str = Field(default="nats://localhost:4222", description="NATS servers, separated by commas.")
    nats_user: str | None = Field(default=None, description="NATS user of this process.")
    nats_password_file: Path | None = Field(default=None, description="File that holds the NATS user's password.")
    nats_ca_file: Path | None = Field(
        default=None,
        description="Certificates of who signed NATS's own. With it the connection is TLS from its first byte, or none. For"
        " Postgres say `?sslmode=verify-full&sslrootcert=FILE` in database_url.",
    )
    data: Path = Field(default=Path("data"), description="Folder of this deployment: export store, sockets, secrets.")
    export_roots: str = Field(default="", description="Folders under which exports may lie, separated by colons.")
    secret_key_file: Path | None = Field(default=None, description="File with the 32-byte key (hex) of the vault.")
    token_file: Path | None = Field(default=None, description="File with the bearer token that the API accepts.")
    public_url: str | None = Field(
        default=None,
        description="Address at which browsers reach the dashboard. It must be set where http_host is not the loopback.",
    )
    oidc_issuer: str | None = Field(
        default=None,
        description="Address of the organization's identity provider (OpenID Connect). None: one-time links.",
    )
    oidc_client_id: str | None = Field(default=None, description="What the identity provider knows the dashboard as.")
    oidc_client_secret_file: Path | None = Field(
        default=None, description="File with the client's secret; none for a public client, which has PKCE only."
    )
    oidc_groups_claim: str = Field(default="groups", description="Claim of the ID token that lists a person's groups.")
    oidc_roles: str = Field(
        default="",
        description="Which group gives which role: group=role, separated by commas; * is everybody. The highest counts.",
    )
    outgoing_allow: str = Field(
        default="",
        description="Hosts and networks (CIDR), separated by commas, that webhooks may call besides public https addresses.",
    )
    atlassian_client_id: str | None = Field(
        default=None,
        description="Client id of your OAuth 2.0 (3LO) app, by which people log in to a site; none: tokens only.",
    )
    atlassian_client_secret_file: Path | None = Field(default=None, description="File with that app's secret.")
    atlassian_auth_url: str = Field(
        default="https://auth.atlassian.com", description="Atlassian's authorization server; a stand-in's, for trials."
    )
    atlassian_api_url: str = Field(
        default="https://api.atlassian.com", description="Atlassian's API for logged-in apps; a stand-in's, for trials."
    )
    http_host: str = Field(default="127.0.0.1", description="Address the dashboard listens on.")
    http_port: int = Field(default=8080, description="Port the dashboard listens on.")
    ops_host: str = Field(default="127.0.0.1", description="Address of /livez, /readyz and /metrics.")
    ops_port: int = Field(default=9090, description="Port of /livez, /readyz and /metrics; 0 takes a free one.")
    lease: float = Field(default=30.0, gt=0, description="Life of a worker's lease on a chunk.")
    request_timeout: float = Field(default=10.0, gt=0, description="Longest wait for one answer of source or site.")
    reoffer: float = Field(default=60.0, gt=0, description="A chunk that nobody claimed is offered again after this.")
    sweep: float = Field(default=5.0, gt=0, description="Pause between two sweeps of the dispatcher without a wake-up.")
    chunk_size: int = Field(default=100, ge=1, le=1000, description="Entities in one chunk.")
    analysis_spaces: int = Field(default=25, ge=1, le=500, description="Spaces in one chunk of an analysis.")
    chunks_per_worker: int = Field(default=4, ge=1, le=64, description="Chunks that one executor works on at once.")
    site_concurrency: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Requests to one site or source at once, at most, of all executors together.",
    )
    verify_bytes: int = Field(
        default=1 << 20,
        ge=0,
        description="Files up to so many bytes are downloaded from the site by verification and their SHA-256 compared; of"
        " larger ones the size.",
    )
    patience: float = Field(
        default=300.0, gt=0, description="How long an entity waits for a source or site that does not answer."
    )
    least_release: str = Field(
        default="",
        description="Below this release no plan starts: the user is asked to update. Empty: none is too old.",
    )
    start_patience: float = Field(
        default=30.0, gt=0, description="How long a process that starts waits for database and NATS to answer."
    )
    grace: float = Field(default=30.0, gt=0, description="Time a process takes to end by itself after SIGTERM.")
    run_file: Path | None = Field(
        default=None, description="File where the process writes its process id and its ports, for who started it."
    )
    parent_fd: int | None = Field(
        default=None, description="Open pipe from who started the process; it ends when the other side closes."
    )
    otlp_endpoint: str | None = Field(
        default=None, description="Where traces go by OTLP over HTTP, e.g. http://collector:4318; none: no traces."
    )
    otlp_ratio: float = Field(default=1.0, ge=0, le=1, description="Share of new traces that are kept.")
    log_format: str = Field(default="json", description="json, or text for people.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")

    @property
    def lease_renewal(self) -> float:
        """Pause between two renewals of a lease."""
        return self.lease / 6

    @property
    def export_store(self) -> Path:
        return self.data / "exports"
