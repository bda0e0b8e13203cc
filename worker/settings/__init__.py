"""What an installation can be told: the fields, and how they are read from the environment and `aftercall.toml`."""

from worker.settings.fields import Account, HmacPlan, Settings
from worker.settings.reading import SettingsError, load, require, with_queue
from worker.settings.secret import Secret, key_of_base64, without_passwords

__all__ = [
    "Account",
    "HmacPlan",
    "Secret",
    "Settings",
    "SettingsError",
    "key_of_base64",
    "load",
    "require",
    "with_queue",
    "without_passwords",
]
