"""What the stage `train` needs beside the student: its teacher, and those who look on."""
