"""A terminal's screen, as far as progress uses it."""


class Screen:
    """Just enough of a terminal: text, line feeds, carriage returns, one line up, columns to the right, erasing a line."""

    def __init__(self, columns: int) -> None:
        self.rows, self.row, self.column, self.columns = [""], 0, 0, columns

    def show(self, data: str) -> None:
        place = 0
        while place < len(data):
            sign = data[place]
            place += 1
            if sign == "\x1b":
                end = place + 1
                while not data[end].isalpha():
                    end += 1
                self._control(data[place + 1 : end], data[end])
                place = end + 1
            elif sign == "\n":
                self.row += 1
                self.rows += [""] * (self.row + 1 - len(self.rows))
            elif sign == "\r":
                self.column = 0
            else:
                assert self.column < self.columns, "a line wraps"
                row = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = row[: self.column] + sign + row[self.column + 1 :]
                self.column += 1

    def _control(self, number: str, letter: str) -> None:
        match letter:
            case "A":
                self.row -= int(number)
            case "C":
                self.column += int(number)
            case "K":
                assert number == "2"
                self.rows[self.row] = ""
            case "m":
                pass
            case _:
                raise AssertionError(f"an unknown control sequence: {number}{letter}")
