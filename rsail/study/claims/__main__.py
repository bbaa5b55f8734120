"""`python -m rsail.study.claims`: every claim computed anew, both tables brought up to date."""

from rsail.study.claims.index import update

if __name__ == "__main__":
    update()
