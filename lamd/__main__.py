"""`python -m lamd`, also for `accelerate launch -m lamd`."""

from lamd.cli import main

if __name__ == "__main__":
    main()
