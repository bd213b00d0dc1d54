"""The capacity plan as one page of HTML: from the answer to text, without I/O."""
