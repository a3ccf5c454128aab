"""Every setting of the platform, in one file. A wrong value of the environment stops the start with one line."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
import django_stubs_ext
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from monitoring.diagnostics.learning import Origin
from pipelines.states import PipelineStatus, StageStatus
from platform_site import environ
from platform_site.common.severity import Severity

django_stubs_ext.monkeypatch()

env = environ.Environ(os.environ)

# --- Where things are -------------------------------------------------------------------------------------

BASE_DIR = environ.CHECKOUT
CHECKOUT_DIR = BASE_DIR
DATA_DIR: Path = environ.data_dir(env)
environ.make_private(DATA_DIR)

ANNEAL_PORT: int = env.read("ANNEAL_PORT", 8000, environ.port)
TRAINING_PYTHON: str = env.read("ANNEAL_TRAINING_PYTHON", "", environ.program)
"""Empty: the training environment that the set-up script makes in the checkout."""
OTLP_ENDPOINT: str = env.read("ANNEAL_OTLP_ENDPOINT", "", environ.http_url)

# --- Secrets ----------------------------------------------------------------------------------------------

SECRET_KEY: str = env.read("ANNEAL_SECRET_KEY", "", environ.secret) or environ.kept_secret(
    DATA_DIR / "secret_key", environ.new_secret_key
)
FERNET_KEYS: list[str] = env.read("ANNEAL_FERNET_KEYS", [], environ.fernet_keys) or environ.fernet_keys(
    environ.kept_secret(DATA_DIR / "fernet_keys", environ.new_fernet_key)
)
"""The first encrypts; all decrypt."""

# --- Runs -------------------------------------------------------------------------------------------------

FROZEN_AFTER_S: float = env.read("ANNEAL_FROZEN_AFTER_S", 1800.0, environ.seconds)
"""A run whose process has been stopped by a signal for so long is given up; 0: never."""
UNREACHABLE_GRACE_S: float = env.read("ANNEAL_UNREACHABLE_GRACE_S", 3600.0, environ.seconds)
"""Runs on a host that does not answer are waited for so long before they count as lost; 0: for ever."""
HOST_CHECK_S: float = env.read("ANNEAL_HOST_CHECK_S", 60.0, environ.seconds)
"""A host that nothing runs on is asked each time so long after whether it answers; 0: never."""
ENVIRONMENT_CHECK_S: float = env.read("ANNEAL_ENVIRONMENT_CHECK_S", 21_600.0, environ.seconds)
"""Training environments are compared with version.json at the start and each time so long after; 0: at the start."""
ENVIRONMENT_POLICY: str = env.read("ANNEAL_ENVIRONMENT_POLICY", "report", environ.one_of("report", "update"))
"""What is done about one that differs: it is told, or brought up to date by a stage."""
METRICS_PACK_AFTER_S: float = env.read("ANNEAL_METRICS_PACK_AFTER_S", 3600.0, environ.seconds)
"""Metrics that nothing was read of for so long are packed to their last step."""
METRICS_KEEP_S: float = env.read("ANNEAL_METRICS_KEEP_S", 0.0, environ.seconds)
"""Metrics that nothing was read of for so long are forgotten, but for the last values; 0: never."""

STALL_FACTOR: float = env.read("ANNEAL_STALL_FACTOR", 6.0, environ.positive)
STALL_AFTER_S: float = env.read("ANNEAL_STALL_AFTER_S", 1800.0, environ.seconds)
"""A run stands still when no step has come for this factor times its median step, and for so many seconds."""
LEARN_THRESHOLDS: bool = env.read("ANNEAL_LEARN_THRESHOLDS", True, environ.flag)
"""Whether new runs go by what healthy ones of the same algorithm and base model teach."""
KL_THRESHOLD: float = env.read("ANNEAL_KL_THRESHOLD", 1.0, environ.positive)
"""Divergence from the reference model: a warning from here, an error from twice, critical from five times as much."""

# --- Web --------------------------------------------------------------------------------------------------

DEBUG = False
ALLOWED_HOSTS: list[str] = env.read("ANNEAL_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"], environ.hosts)
ROOT_URLCONF = "platform_site.urls"
ASGI_APPLICATION = "platform_site.asgi.application"
HTTPS: bool = env.read("ANNEAL_HTTPS", False, environ.flag)
"""Whether people reach the platform by https, through a proxy that sets X-Forwarded-Proto."""

INSTALLED_APPS = [
    "platform_site.common",
    "platform_site.common.admin_app.AnnealAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_dramatiq",
    "django_filters",
    "django_htmx",
    "drf_spectacular",
    "knox",
    "rest_framework",
    "template_partials",
    "platform_site",
    "notifications",
    "environments",
    "datasets",
    "monitoring",
    "pipelines",
]

MIDDLEWARE = [
    "platform_site.middleware.RequestLog",
    "platform_site.common.middleware.RequestContext",
    "platform_site.common.api.errors.ApiErrors",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "platform_site.middleware.NoNul",
    "platform_site.middleware.ApiSlash",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "platform_site.common.access.PageGuard",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "platform_site.common.access.role",
            ]
        },
    }
]

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [folder for folder in (BASE_DIR / "static", BASE_DIR / "static-vendor") if folder.is_dir()]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "platform_site.storage.HashedFiles"},
}
MEDIA_ROOT = DATA_DIR / "uploads"
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024**2
# The editor of pipelines with 60 stages, each after all before it: 60 x 7 fields and 60 x 59 / 2 choices.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2500
FILE_UPLOAD_HANDLERS = [
    "platform_site.common.uploads.LimitUpload",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
# On the disk that gets them in the end, and not in memory that /tmp may be.
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "incoming"
environ.make_private(FILE_UPLOAD_TEMP_DIR)
DATASET_MAX_BYTES = 512 * 1024**2
"""The largest file that is taken in."""
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "connect-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_NAME = "anneal_session"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_NAME = "anneal_csrf"
CSRF_COOKIE_SECURE = HTTPS
CSRF_FAILURE_VIEW = "platform_site.views.errors.csrf_failure"
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
# W004, W008, W012, W016 ask for https, which the platform cannot give itself: it serves http on loopback, and
# ANNEAL_HTTPS turns all four on behind a proxy. W005 and W021 would speak for domains that are not ours alone.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if not HTTPS:
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W008", "security.W012", "security.W016"]

# --- People -----------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "common.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"

# Guessing is stopped by account and by address. The address is the connection's: X-Forwarded-For is not trusted.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]
AXES_CLIENT_IP_CALLABLE = "platform_site.common.addresses.client_address"
# Signing in to an account of one's own must not buy new guesses at another.
AXES_RESET_ON_SUCCESS = False
# Knocking on a locked door must not keep its owner out for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_VERBOSE = False
AXES_LOCKOUT_TEMPLATE = "registration/locked.html"

# --- Notifications ------------------------------------------------------------------------------------------

PUBLIC_URL: str = env.read("ANNEAL_PUBLIC_URL", "", environ.http_url).rstrip("/") or environ.own_url(
    ALLOWED_HOSTS, ANNEAL_PORT, https=HTTPS
)
"""Where people find the platform: what is sent outside leads there."""
NOTIFY_NETWORKS: list[environ.Network] = env.read("ANNEAL_NOTIFY_NETWORKS", [], environ.networks)
"""Private addresses that messages may be sent to all the same."""
NOTIFICATIONS_KEEP_S: float = env.read("ANNEAL_NOTIFICATIONS_KEEP_S", 90 * 86_400.0, environ.seconds)
"""What people were told is forgotten after so long; 0: never."""

# --- API --------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "platform_site.common.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["platform_site.common.api.permissions.RolePermission"],
    "DEFAULT_THROTTLE_CLASSES": ["platform_site.common.api.throttling.CallerThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["platform_site.common.api.renderers.Json"],
    "DEFAULT_PARSER_CLASSES": ["platform_site.common.api.parsers.Json"],
    "DEFAULT_FILTER_BACKENDS": [
        "platform_site.common.api.filters.Filters",
        "platform_site.common.api.filters.Search",
        "platform_site.common.api.filters.Ordering",
    ],
    "DEFAULT_PAGINATION_CLASS": "platform_site.common.api.pagination.Page",
    "EXCEPTION_HANDLER": "platform_site.common.api.errors.handler",
    "DEFAULT_SCHEMA_CLASS": "platform_site.common.api.schema.Schema",
    "DATETIME_FORMAT": None,  # the renderer writes times, in UTC whatever TIME_ZONE says
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
KNOX_TOKEN_MODEL = "common.ApiToken"  # noqa: S105  a model, no secret
REST_KNOX = {"TOKEN_TTL": timedelta(days=30), "AUTH_HEADER_PREFIX": "Token"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Anneal",
    "DESCRIPTION": "A control room for LLM post-training with verl.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["platform_site.common.api.permissions.RolePermission"],
    "SERVE_AUTHENTICATION": REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "StageStatus": [(status.value, status.value) for status in StageStatus],
        "KindEnum": "datasets.models.Dataset.Kind",
        "NewHostKind": [("ssh", "ssh"), ("ray", "ray")],
        "Severity": [(severity.word, severity.word) for severity in Severity],
        "ThresholdOrigin": [(origin.value, origin.value) for origin in Origin],
        "PipelineStatus": [(status.value, status.value) for status in PipelineStatus],
    },
}

# --- Database ---------------------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASE_URL: str = env.read("ANNEAL_DATABASE_URL", "", environ.database_url)
if DATABASE_URL:
    postgresql: dict[str, Any] = {**dj_database_url.parse(DATABASE_URL)}
    postgresql["CONN_MAX_AGE"] = 0  # the pool keeps connections, a thread keeps none
    postgresql["OPTIONS"] = {
        "connect_timeout": 10,
        # No prepared statements, though planning is half of what a short stage costs here: a plan made while the
        # tables were small was kept while 10,000 stages came in, and a tick took minutes.
        **postgresql.get("OPTIONS", {}),
        # As many as a worker has threads: one that waits for a silent host holds its connection meanwhile.
        "pool": {"min_size": 1, "max_size": 40, "timeout": 8, "max_idle": 120},
    }
    DATABASES: dict[str, dict[str, Any]] = {"default": postgresql}
else:
    environ.refuse_network_file_system(DATA_DIR)
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA_DIR / "anneal.sqlite3",
            "CONN_MAX_AGE": 0,
            # A file for the tests too: SQLite in memory knows neither WAL nor waiting for a lock.
            "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    }

# --- Redis: messages between processes ----------------------------------------------------------------------

REDIS_IS_EMBEDDED: bool = not env.read("ANNEAL_REDIS_URL", "", environ.redis_url)
REDIS_URL: str = env.read("ANNEAL_REDIS_URL", environ.embedded_redis_url(DATA_DIR), environ.redis_url)
DRAMATIQ_BROKER = {
    "BROKER": "platform_site.broker.Broker",
    "OPTIONS": {"url": REDIS_URL},
    "MIDDLEWARE": [
        "dramatiq.middleware.AgeLimit",
        "platform_site.broker.Marks",
        "dramatiq.middleware.TimeLimit",
        "dramatiq.middleware.ShutdownNotifications",
        "dramatiq.middleware.Retries",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
        "platform_site.broker.WorkerRegistry",
    ],
}
DRAMATIQ_ENCODER = "dramatiq.encoder.JSONEncoder"

# --- Language and time --------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE: str = env.read("ANNEAL_TIME_ZONE", "UTC", environ.time_zone)

# --- Logs: one line of JSON a record, on stderr; the supervisor gives each process its file ------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"tracebacks": {"()": "platform_site.logs.WithTraceback"}},
    "formatters": {"line": {"()": "platform_site.logs.JsonLine"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
        "uvicorn": {"handlers": [], "level": "INFO", "propagate": True},
        # Every request is logged once, by platform_site.middleware.RequestLog.
        "uvicorn.access": {"handlers": [], "level": "WARNING", "propagate": True},
        "django.request": {"handlers": [], "level": "ERROR", "propagate": True, "filters": ["tracebacks"]},
        "dramatiq": {"handlers": [], "level": "WARNING", "propagate": True},
        # Warns that there are two sets of workers in the process, which is what we want.
        "dramatiq.broker.Broker": {"handlers": [], "level": "ERROR", "propagate": True},
        "axes": {"handlers": [], "level": "WARNING", "propagate": True},
        "watchfiles": {"handlers": [], "level": "WARNING", "propagate": True},
        "httpx": {"handlers": [], "level": "WARNING", "propagate": True},
        # What it logs, with a traceback each time, the SSH transport says itself, with the host's name.
        "paramiko": {"handlers": [], "level": "CRITICAL", "propagate": True},
    },
}
