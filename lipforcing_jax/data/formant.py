class FormantEngine:
    name = "formant"
    voices = ()
