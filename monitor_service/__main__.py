"""`python -m monitor_service` is `acr`."""

from monitor_service.cli.main import main

if __name__ == "__main__":
    main()
