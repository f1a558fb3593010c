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

/// Maximum characters of an unknown name in an error.
const LONGEST_NAME: usize = 40;

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

/// Returns an error with its line if the engine must not compile and run the template. `functions` are the names that
/// a template can call: as a value, a function would render to a name of this program.
pub(super) fn check(tree: &Stmt<'_>, functions: &[&str]) -> Result<(), String> {
    statement(tree, 0, functions)
}

fn all(statements: &[Stmt<'_>], depth: usize, functions: &[&str]) -> Result<(), String> {
    statements.iter().try_for_each(|inner| statement(inner, depth + 1, functions))
}

fn statement(it: &Stmt<'_>, depth: usize, functions: &[&str]) -> Result<(), String> {
    match it {
        Stmt::Template(template) => all(&template.children, depth, functions),
        Stmt::EmitRaw(_) => Ok(()),
        Stmt::EmitExpr(emit) => expression(&emit.expr, depth, functions),
        Stmt::IfCond(condition) => {
            deep(depth, condition.span().start_line)?;
            expression(&condition.expr, depth, functions)?;
            all(&condition.true_body, depth, functions)?;
            all(&condition.false_body, depth, functions)
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

fn expression(it: &Expr<'_>, depth: usize, functions: &[&str]) -> Result<(), String> {
    let line = it.span().start_line;
    deep(depth, line)?;
    let inner = |inner: &Expr<'_>| expression(inner, depth + 1, functions);
    let maybe = |optional: &Option<Expr<'_>>| optional.as_ref().map_or(Ok(()), inner);
    let arguments = |args: &[CallArg<'_>]| {
        args.iter().try_for_each(|arg| match arg {
            CallArg::Pos(arg) | CallArg::Kwarg(_, arg) | CallArg::PosSplat(arg) | CallArg::KwargSplat(arg) => {
                inner(arg)
            }
        })
    };
    match it {
        Expr::Var(name) if functions.contains(&name.id) => {
            Err(format!("line {line}: `{0}` is a function: write {0}().", name.id))
        }
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
            let filters = [TO_SCALAR.as_slice(), &AS_GIVEN, &OF_LISTS];
            known("filter", filter.name, line, &filters)
        }
        Expr::Test(test) => {
            inner(&test.expr)?;
            arguments(&test.args)?;
            known("test", test.name, line, &[&TESTS])
        }
        Expr::GetAttr(attribute) => inner(&attribute.expr),
        Expr::GetItem(item) => {
            inner(&item.expr)?;
            inner(&item.subscript_expr)
        }
        Expr::Call(call) => {
            if !matches!(call.expr, Expr::Var(_)) {
                inner(&call.expr)?;
            }
            arguments(&call.args)
        }
        Expr::List(list) => list.items.iter().try_for_each(inner),
        Expr::Tuple(tuple) => tuple.items.iter().try_for_each(inner),
        Expr::Map(map) => map.keys.iter().chain(&map.values).try_for_each(inner),
    }
}

/// Returns true if a template can use a filter of this name.
pub(super) fn is_filter(name: &str) -> bool {
    TO_SCALAR.contains(&name) || AS_GIVEN.contains(&name) || OF_LISTS.contains(&name)
}

/// Returns an error that lists the known words, if `name` is none of them.
fn known(what: &str, name: &str, line: u16, words: &[&[&str]]) -> Result<(), String> {
    let mut words: Vec<_> = words.iter().copied().flatten().copied().collect();
    if words.contains(&name) {
        return Ok(());
    }
    words.sort_unstable();
    // a name may be as long as the template, and the list remains readable
    let short: String = name.chars().take(LONGEST_NAME).collect();
    Err(format!("line {line}: `{short}` is an unknown {what}. Use one of {}.", words.join(", ")))
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
