"""The network in Keras on TensorFlow, as its authors trained it, as a rival at its best.

| what | recommended by |
|---|---|
| a graph for the whole step, by tf.function | https://www.tensorflow.org/guide/function |
| oneDNN's kernels, the default on x86-64 Linux | https://www.tensorflow.org/install/pip |
| bfloat16: mixed_bfloat16, logits and loss in float32 | [mixed precision] |

Inference in bfloat16 takes the policy "bfloat16", whose variables are bfloat16 too: mixed_bfloat16
would convert every weight at each call.

[mixed precision]: https://www.tensorflow.org/guide/mixed_precision
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from musclejax.models.spec import NetworkSpec

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from keras import layers

LEARNING_RATE, L2 = 1e-3, 0.01
POLICIES = {
    ("infer", "float32"): "float32",
    ("infer", "bfloat16"): "bfloat16",
    ("train", "float32"): "float32",
    ("train", "bfloat16"): "mixed_bfloat16",
}
"""What is done, and the precision -> policy of all layers."""


def network(spec: NetworkSpec, classes: int) -> Any:
    """Return the model: images of any valid size -> logits."""
    image = keras.Input((None, None, 1))
    x, skips = image, []
    for width, stride in zip(spec.widths, spec.strides, strict=True):
        x = _unit(spec, x, width, "strided", stride)
        x = _residual(spec, width, x, layers.ReLU()(x))
        skips.append(x)
    for level in reversed(range(len(spec.widths) - 1)):
        width = spec.widths[level]
        x = _unit(spec, x, width, spec.upsampling, spec.strides[level + 1])
        x = _residual(spec, width, x, layers.Concatenate()([skips[level], layers.ReLU()(x)]))
    patch = spec.strides[0]
    x = layers.Conv2D(classes * patch**2, 1, kernel_regularizer=_l2())(x)
    if patch > 1:
        x = layers.Lambda(lambda y: tf.nn.depth_to_space(y, patch))(x)
    return keras.Model(image, layers.Activation("linear", dtype="float32")(x))


def _unit(spec: NetworkSpec, x: Any, width: int, kind: str = "plain", stride: int = 1) -> Any:
    match kind:
        case "plain":
            x = layers.Conv2D(width, 3, padding="same", kernel_regularizer=_l2())(x)
        case "strided":
            x = layers.Conv2D(width, stride, strides=stride, kernel_regularizer=_l2())(x)
        case "transposed":
            x = layers.Conv2DTranspose(width, stride, strides=stride, kernel_regularizer=_l2())(x)
        case "nearest":
            x = layers.Conv2D(width, 1, kernel_regularizer=_l2())(x)
            x = layers.UpSampling2D(stride)(x)
    if spec.norm == "batch":
        return layers.BatchNormalization(epsilon=1e-3, momentum=0.99)(x)
    return layers.GroupNormalization(math.gcd(width, 8))(x)


def _residual(spec: NetworkSpec, width: int, shortcut: Any, x: Any) -> Any:
    for unit in range(spec.units):
        x = _unit(spec, layers.ReLU()(x) if unit else x, width)
    return layers.ReLU()(layers.Add()([x, shortcut]) if spec.residual else x)


def _l2() -> Any:
    return keras.regularizers.L2(L2)


def parameters(spec: NetworkSpec, classes: int) -> int:
    """Return the number of trainable parameters."""
    return sum(math.prod(w.shape) for w in network(spec, classes).trainable_weights)


def inference(
    spec: NetworkSpec, classes: int, threads: int, precision: str
) -> Callable[[np.ndarray], object]:
    """Return images -> labels, confidence and probabilities."""
    _prepare(threads, "infer", precision)
    model = network(spec, classes)

    def apply(images: Any) -> Any:
        probabilities = tf.nn.softmax(model(images, training=False))
        labels = tf.cast(tf.argmax(probabilities, -1), tf.uint8)
        steps = tf.cast(tf.round(probabilities * 255), tf.uint8)
        return labels, tf.reduce_max(steps, -1), steps

    compiled = tf.function(apply)
    return lambda images: [a.numpy() for a in compiled(tf.constant(images))]


def training(
    spec: NetworkSpec, classes: int, threads: int, precision: str
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], object]:
    """Return (images, labels, weights) -> loss, one step further each time."""
    _prepare(threads, "train", precision)
    model = network(spec, classes)
    optimizer = keras.optimizers.Adam(LEARNING_RATE, amsgrad=True)
    optimizer.build(model.trainable_variables)

    def step(images: Any, labels: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(weights * entropy) + tf.add_n(model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    compiled = tf.function(step)
    return lambda *batch: float(compiled(*(tf.constant(a) for a in batch)).numpy())


def _prepare(threads: int, what: str, precision: str) -> None:
    """Set the policy of the layers that follow, and the threads."""
    keras.config.set_dtype_policy(POLICIES[what, precision])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
