"""The instance and how it runs. Knows neither `keys` nor `deploy` (only `lib.commands` does)."""
