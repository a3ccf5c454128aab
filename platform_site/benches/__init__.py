"""How fast the platform is, measured against what the machine allows in the same run.

`manage.py bench NAME|all`. Each bench is a function that fills in a `Figures`; those that need a running platform
start one of their own, in a folder that is thrown away.
"""
