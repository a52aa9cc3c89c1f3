"""stub"""


class Predictor: ...
