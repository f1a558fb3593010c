//! Checks the syntax tree of a template before execution.
//!
//! The engine's fuel does not measure three things. A multiplied list is only repeated when it is read, and most
//! readers of a list don't pay for its items. Constants are folded during compilation, before there is fuel. Some
//! filters run first and pay for their result. Therefore lists can't be multiplied, chains of operators have a maximum
//! length, and only filters exist whose work follows from their arguments.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::value::ValueKind;

/// Maximum depth of operators. The engine folds constants once for each level.
const DEEPEST: usize = 500;

/// Filters that return a text or a number for any argument.
const TO_SCALAR: [&str; 31] = [
    "abs",
    "b64decode",
    "b64encode",
    "b64urlencode",
    "bool",
    "capitalize",
    "cloudfront",
    "count",
    "date",
    "e",
    "escape",
    "float",
    "format",
    "indent",
    "int",
    "join",
    "length",
    "lower",
    "minutes",
    "replace",
    "round",
    "round_up",
    "safe",
    "sha256",
    "string",
    "title",
    "tojson",
    "trim",
    "unix",
    "upper",
    "urlencode",
];

/// Filters that return a text or a number if all their arguments are one.
const AS_GIVEN: [&str; 3] = ["d", "default", "reverse"];

/// Filters that return a list or an item of one.
const OF_LISTS: [&str; 5] = ["first", "last", "lines", "list", "split"];

/// Tests whose work follows from their arguments.
const TESTS: [&str; 36] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

/// Returns an error with its line if the engine must not compile and run the template.
pub(super) fn check(tree: &Stmt<'_>) -> Result<(), String> {
    statement(tree, 0)
}

fn all(statements: &[Stmt<'_>], depth: usize) -> Result<(), String> {
    statements.iter().try_for_each(|inner| statement(inner, depth + 1))
}

fn statement(it: &Stmt<'_>, depth: usize) -> Result<(), String> {
    match it {
        Stmt::Template(template) => all(&template.children, depth),
        Stmt::EmitRaw(_) => Ok(()),
        Stmt::EmitExpr(emit) => expression(&emit.expr, depth),
        Stmt::IfCond(condition) => {
            deep(depth, condition.span().start_line)?;
            expression(&condition.expr, depth)?;
            all(&condition.true_body, depth)?;
            all(&condition.false_body, depth)
        }
        _ => Err("has a statement that is not available. Use if, elif, else, endif, raw, endraw only.".into()),
    }
}

fn deep(depth: usize, line: u16) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("line {line}: more than {DEEPEST} operators follow one another. Shorten the expression."));
    }
    Ok(())
}

fn expression(it: &Expr<'_>, depth: usize) -> Result<(), String> {
    let line = it.span().start_line;
    deep(depth, line)?;
    let inner = |inner: &Expr<'_>| expression(inner, depth + 1);
    let maybe = |optional: &Option<Expr<'_>>| optional.as_ref().map_or(Ok(()), inner);
    let arguments = |args: &[CallArg<'_>]| {
        args.iter().try_for_each(|arg| match arg {
            CallArg::Pos(arg) | CallArg::Kwarg(_, arg) | CallArg::PosSplat(arg) | CallArg::KwargSplat(arg) => {
                inner(arg)
            }
        })
    };
    match it {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::Slice(slice) => {
            inner(&slice.expr)?;
            [&slice.start, &slice.stop, &slice.step].into_iter().try_for_each(maybe)
        }
        Expr::UnaryOp(unary) => inner(&unary.expr),
        Expr::BinOp(binary) => {
            inner(&binary.left)?;
            inner(&binary.right)?;
            if matches!(binary.op, BinOpKind::Mul) && !(scalar(&binary.left) && scalar(&binary.right)) {
                return Err(format!("line {line}: lists can't be multiplied, only texts and numbers."));
            }
            Ok(())
        }
        Expr::Compare(compare) => {
            inner(&compare.expr)?;
            compare.ops.iter().try_for_each(|op| inner(&op.expr))
        }
        Expr::IfExpr(choice) => {
            inner(&choice.test_expr)?;
            inner(&choice.true_expr)?;
            maybe(&choice.false_expr)
        }
        Expr::Filter(filter) => {
            maybe(&filter.expr)?;
            arguments(&filter.args)?;
            known("filter", filter.name, line, is_filter(filter.name))
        }
        Expr::Test(test) => {
            inner(&test.expr)?;
            arguments(&test.args)?;
            known("test", test.name, line, TESTS.contains(&test.name))
        }
        Expr::GetAttr(attribute) => inner(&attribute.expr),
        Expr::GetItem(item) => {
            inner(&item.expr)?;
            inner(&item.subscript_expr)
        }
        Expr::Call(call) => {
            inner(&call.expr)?;
            arguments(&call.args)
        }
        Expr::List(list) => list.items.iter().try_for_each(inner),
        Expr::Tuple(tuple) => tuple.items.iter().try_for_each(inner),
        Expr::Map(map) => map.keys.iter().chain(&map.values).try_for_each(inner),
    }
}

fn is_filter(name: &str) -> bool {
    TO_SCALAR.contains(&name) || AS_GIVEN.contains(&name) || OF_LISTS.contains(&name)
}

fn known(what: &str, name: &str, line: u16, is_known: bool) -> Result<(), String> {
    if is_known { Ok(()) } else { Err(format!("line {line}: `{name}` is an unknown {what}.")) }
}

/// Returns true if the expression is a text, a number, a boolean or none, for any variables. Each variable is a text.
fn scalar(it: &Expr<'_>) -> bool {
    match it {
        Expr::Const(constant) => {
            !matches!(constant.value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Plain)
        }
        Expr::Var(_) | Expr::UnaryOp(_) | Expr::Compare(_) | Expr::Test(_) => true,
        Expr::BinOp(binary) => match binary.op {
            BinOpKind::Add | BinOpKind::ScAnd | BinOpKind::ScOr => scalar(&binary.left) && scalar(&binary.right),
            // other products are rejected, and other operators return no list
            _ => true,
        },
        Expr::IfExpr(choice) => scalar(&choice.true_expr) && choice.false_expr.as_ref().is_none_or(scalar),
        Expr::Slice(slice) => scalar(&slice.expr),
        Expr::Filter(filter) if TO_SCALAR.contains(&filter.name) => true,
        Expr::Filter(filter) if AS_GIVEN.contains(&filter.name) => {
            let given = |arg: &CallArg<'_>| match arg {
                CallArg::Pos(arg) | CallArg::Kwarg(_, arg) => scalar(arg),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => false,
            };
            filter.expr.as_ref().is_some_and(scalar) && filter.args.iter().all(given)
        }
        Expr::Filter(_)
        | Expr::GetAttr(_)
        | Expr::GetItem(_)
        | Expr::Call(_)
        | Expr::List(_)
        | Expr::Tuple(_)
        | Expr::Map(_) => false,
    }
}
