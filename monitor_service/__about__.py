"""The version of the distribution `acr-monitor`, in one place."""

__version__ = "0.1.0"
