"""A metric plugin for the tests: sensors of each kind that read what can be known."""

from pytest_edgeai import hookimpl


class Switches:
    """Two numbers a call."""

    name, units, per = "switches", {"voluntary": "", "forced": ""}, "call"

    def unsupported(self):
        return None

    def arm(self):
        pass

    def read(self, calls):
        return {"voluntary": 3 * calls, "forced": 0}


class Heat:
    """One number a block."""

    name, units, per = "heat", {"heat": "J"}, "block"

    def unsupported(self):
        return None

    def arm(self):
        pass

    def read(self, calls):
        return {"heat": 10.0 if calls else 0.0}


class Work:
    """Two numbers a block, of which one is for each call."""

    name, units, per = "work", {"per_call": "J", "calls": ""}, "block"
    spare = {"calls": "per_call"}  # noqa: RUF012 - as a plugin writes it

    def unsupported(self):
        return None

    def arm(self):
        pass

    def read(self, calls):
        return {"per_call": 12.0 / calls, "calls": float(calls)}


class Files:
    """One number a process."""

    name, units, per = "files", {"files": ""}, "process"

    def unsupported(self):
        return None

    def arm(self):
        pass

    def read(self, calls):
        return {"files": float(calls)}


class Absent(Files):
    name, units = "absent", {"absent": ""}

    def unsupported(self):
        return "there is no such sensor here"


class AbsentBlock(Heat):
    name, units = "absent_block", {"absent_block": ""}

    def unsupported(self):
        return "there is no such sensor here"


class AbsentCall(Switches):
    name, units = "absent_call", {"absent_call": ""}

    def unsupported(self):
        return "there is no such sensor here"


@hookimpl
def edge_metrics():
    return (Switches(), Heat(), Work(), Files(), Absent(), AbsentBlock(), AbsentCall())
